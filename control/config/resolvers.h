// SPDX-License-Identifier: Apache-2.0
// The resolvers of this host that its VMs can use too: the default of dhcp.dns.
//
// With systemd-resolved, /etc/resolv.conf names 127.0.0.53, which from a VM is the VM itself. The real
// servers are in /run/systemd/resolve/resolv.conf, which is preferred when it exists; loopback and IPv6 are
// skipped.
#pragma once

#include <string_view>
#include <vector>

#include "dataplane/net/address.h"

namespace vmnat::config {

// The addresses of "nameserver" lines, in order, without repetition; at most `kMostResolvers`.
std::vector<net::Ipv4Addr> usable_resolvers(std::string_view resolv_conf);
inline constexpr std::size_t kMostResolvers = 3;  // as resolv.conf(5)

std::vector<net::Ipv4Addr> host_resolvers();

}  // namespace vmnat::config
