// SPDX-License-Identifier: Apache-2.0
#include "control/config/defaults.h"

#include <filesystem>

namespace vmnat::config {
namespace {

void fill_in(VmPort& port, const std::string& directory, const std::string& path, const Findings& findings) {
  if (!port.vhost_user.empty() && !port.vhost_user.starts_with('/'))
    port.vhost_user = (std::filesystem::path(directory) / port.vhost_user).lexically_normal();
  if (!findings.has(path + ".guard")) port.guard = port.device.is_given() ? PortGuard::Off : PortGuard::On;
  if (!findings.has(path + ".relay")) port.relay = port.guard == PortGuard::Off;
}

void fill_in(Dhcp& dhcp, const Network& network, const std::string& path, const Findings& findings,
             const Resolvers& resolvers) {
  if (!findings.has(path + ".ranges") && network.address.length < 31)
    dhcp.ranges = {host_range(network.address)};
  if (!findings.has(path + ".dns") && network.host) dhcp.dns.from = DnsSource::Gateway;
  if (dhcp.dns.from != DnsSource::Listed) dhcp.dns.servers = resolvers();
}

}  // namespace

void fill_in_defaults(Config& config, const Findings& findings, const Resolvers& resolvers) {
  if (!config.uplinks.empty()) config.uplink = static_cast<const Uplink&>(config.uplinks.front());
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    Network& network = config.networks[n];
    const std::string path = indexed("networks", n);
    for (std::size_t p = 0; p < network.ports.size(); ++p)
      fill_in(network.ports[p], config.vhost_user.directory, indexed(path + ".ports", p), findings);
    if (network.dhcp) fill_in(*network.dhcp, network, path + ".dhcp", findings, resolvers);
    const auto& uplink = config.uplink.address;
    if (config.uplinks.empty() && network.forward == Forward::Nat && network.nat.addresses.empty() && uplink)
      network.nat.addresses = {{uplink->address, uplink->address}};
  }
}

}  // namespace vmnat::config
