// SPDX-License-Identifier: Apache-2.0
// The devices that a configuration names, the uplink's and those of ports, with what the checks ask of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/config/model.h"

namespace vmnat::doctor {

struct Named {
  std::string object;  // "uplink", "port vm1"
  const config::NamedDevice* device;
  std::uint16_t mtu;  // that VMs, or the uplink, are told
};
std::vector<Named> named_devices(const config::Config& config);

// Of a kernel interface, also one that DPDK's drivers have in devargs (net_af_packet0,iface=eth0); empty: another kind.
std::string interface_of(const config::NamedDevice& device);
// Whether checksums that a veth's other end leaves to a NIC go unseen.
bool is_blind_to_partial_checksums(const config::NamedDevice& device);

// A VM's port with a socket, and who may use it.
struct SocketPort {
  const config::VmPort* port;
  std::string group;
  unsigned mode;  // of the socket
};
std::vector<SocketPort> socket_ports(const config::Config& config);

}  // namespace vmnat::doctor
