// SPDX-License-Identifier: Apache-2.0
#include "control/doctor/named_devices.h"

namespace vmnat::doctor {

using config::DeviceKind;

std::vector<Named> named_devices(const config::Config& config) {
  std::vector<Named> named;
  for (std::size_t i = 0; i < config::uplink_count(config); ++i)
    if (const config::Uplink& uplink = config::uplink_at(config, i); uplink.device.is_given())
      named.push_back({config::uplink_title(config, i), &uplink.device, uplink.mtu});
  for (const config::Network& network : config.networks)
    for (const config::VmPort& port : network.ports)
      if (port.device.is_given()) named.push_back({"port " + port.name, &port.device, network.mtu});
  return named;
}

std::string interface_of(const config::NamedDevice& device) {
  switch (config::device_kind(device.name)) {
    case DeviceKind::KernelInterface:
      return device.name;
    case DeviceKind::Devargs:
      break;
    case DeviceKind::Pci:
      return {};
  }
  constexpr std::string_view kKey = ",iface=";
  const bool is_kernels = device.name.starts_with("net_af_") || device.name.starts_with("eth_af_");
  const auto at = device.name.find(kKey);
  if (!is_kernels || at == std::string::npos) return {};
  const auto begin = at + kKey.size();
  return device.name.substr(begin, device.name.find(',', begin) - begin);
}

bool is_blind_to_partial_checksums(const config::NamedDevice& device) {
  return config::device_kind(device.name) == DeviceKind::Devargs ||
         device.driver == config::KernelDriver::Xdp;
}

std::vector<SocketPort> socket_ports(const config::Config& config) {
  std::vector<SocketPort> ports;
  constexpr unsigned kWithoutSearching = 0666;
  for (const config::Network& network : config.networks)
    for (const config::VmPort& port : network.ports) {
      if (port.vhost_user.empty()) continue;
      const config::SocketAccess own = port.access.value_or(config::SocketAccess{});
      ports.push_back({&port, own.group.empty() ? config.vhost_user.group : own.group,
                       own.mode.value_or(config.vhost_user.mode).bits & kWithoutSearching});
    }
  return ports;
}

}  // namespace vmnat::doctor
