// SPDX-License-Identifier: Apache-2.0
// A network of libvirt's, as `virsh net-dumpxml` prints it, as a vmnat.yaml that does the same.
//
//   <network>                                            networks:
//     <name>default</name>                                 - name: default
//     <forward mode='nat'/>                                  address: 192.168.122.1/24
//     <bridge name='virbr0' stp='on' delay='0'/>             # <bridge name='virbr0' ...>: VMs are on vhost-user ports ...
//     <ip address='192.168.122.1' netmask='255.255.255.0'>   dhcp:
//       <dhcp><range start='192.168.122.2' .../></dhcp>        ranges: [192.168.122.2-192.168.122.254]
//
// What has no counterpart is a comment, each element one. The text is valid whatever the network says; its uplink, which
// libvirt does not have, is to be edited.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace vmnat::ctl {

// The configuration; or what is wrong with the XML, as `FILE:LINE:COL: message`.
tl::expected<std::string, std::string> import_libvirt(std::string_view xml, const std::string& file);

}  // namespace vmnat::ctl
