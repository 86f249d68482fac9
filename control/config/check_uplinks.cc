// SPDX-License-Identifier: Apache-2.0
// Checks of uplinks: each by itself, and that several of them are told apart and share out the networks.
#include <array>

#include "base/ids.h"
#include "control/config/check.h"

namespace vmnat::config {
namespace {

using net::to_string;

void check_gateway(const net::Ipv4Prefix& own, net::Ipv4Addr gateway, const std::string& path,
                   Findings& findings) {
  if (gateway == own.address)
    return findings.complain_at(path, "gateway: " + to_string(gateway) + " is the uplink's own address");
  // In a /31 or /32 the gateway may be any host of the link (RFC 3021, and clouds that give single
  // addresses).
  if (own.has_edges() && !own.contains(gateway))
    return findings.complain_at(path, "gateway: " + to_string(gateway) +
                                          " is not within the uplink's network " +
                                          to_string(net::Ipv4Prefix{own.first(), own.length}));
  check_is_host_of(own, gateway, path, "gateway", findings);
}

void check_uplink(const Uplink& uplink, const std::string& path, Findings& findings) {
  if (!findings.has(path + ".address")) return;
  if (!uplink.address)
    return findings.complain_at(path + ".gateway", "gateway: comes from DHCP, because address is dhcp");
  if (!findings.given.contains(path + ".gateway")) findings.miss("gateway", path, findings.marks.at(path));
  if (uplink.address->length < 1)
    return findings.complain_at(path + ".address",
                                "address: the prefix length of an uplink is between 1 and 32");
  check_is_host_of(*uplink.address, uplink.address->address, path + ".address", "address", findings);
  if (uplink.gateway && findings.has(path + ".gateway"))
    check_gateway(*uplink.address, *uplink.gateway, path + ".gateway", findings);
}

// The DHCP client of an uplink listens on UDP port 68.
void check_client_port(const Config& config, std::size_t number, Findings& findings) {
  if (!findings.has(uplink_path(config, number) + ".address") || uplink_at(config, number).address) return;
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const auto& forwards = config.networks[n].nat.forwards;
    for (std::size_t i = 0; i < forwards.size(); ++i)
      if (forwards[i].protocol == net::Protocol::Udp && forwards[i].port.contains(net::L4Port::from_host(68)))
        findings.complain_at(
            indexed(network_path(n) + ".nat.forwards", i) + ".port",
            "port: udp port 68 is " + uplink_text(config, number) + "'s own, because its address is dhcp");
  }
}

bool is_network(const Config& config, const std::string& name) {
  for (const Network& network : config.networks)
    if (network.name == name) return true;
  return false;
}

// Each network goes by one uplink first.
void check_preferences(const Config& config, Findings& findings) {
  Unique<std::string> preferred("networks: network", findings);
  for (std::size_t i = 0; i < config.uplinks.size(); ++i)
    for (std::size_t n = 0; n < config.uplinks[i].networks.size(); ++n) {
      const std::string &name = config.uplinks[i].networks[n],
                        at = indexed(uplink_path(config, i) + ".networks", n);
      preferred.add(name, at, "'" + name + "'");
      if (!is_network(config, name)) findings.complain_at(at, "networks: there is no network '" + name + "'");
    }
}

// What is pinged is beyond the gateway, or on the link, but neither ours nor a VM's.
void check_probe(const Config& config, std::size_t number, Findings& findings) {
  const auto& probe = config.uplinks[number].probe;
  const std::string path = uplink_path(config, number) + ".probe";
  if (!probe || !findings.has(path)) return;
  for (std::size_t i = 0; i < config.uplinks.size(); ++i)
    if (const auto& address = config.uplinks[i].address; address && address->address == *probe)
      findings.complain_at(
          path, "probe: " + to_string(*probe) + " is " + uplink_text(config, i) + "'s own address");
  for (std::size_t n = 0; n < config.networks.size(); ++n)
    if (findings.has(network_path(n) + ".address") && config.networks[n].address.contains(*probe))
      findings.complain_at(
          path, "probe: " + to_string(*probe) + " is within network '" + config.networks[n].name + "'");
}

void check_several(const Config& config, Findings& findings) {
  Unique<std::string> names("name: uplink", findings);
  Unique<net::Ipv4Addr> addresses("address:", findings);
  for (std::size_t i = 0; i < config.uplinks.size(); ++i) {
    names.add(config.uplinks[i].name, uplink_path(config, i) + ".name", "'" + config.uplinks[i].name + "'");
    if (const auto& address = config.uplinks[i].address)
      addresses.add(address->address, uplink_path(config, i) + ".address", to_string(address->address));
    check_probe(config, i, findings);
  }
  check_preferences(config, findings);
  if (config.uplinks.size() > kMostUplinks)
    findings.complain_at(
        uplink_path(config, kMostUplinks),
        "uplinks: there is room for " + std::to_string(kMostUplinks) + "; this one is too many");
}

}  // namespace

void check_uplinks(const Config& config, Findings& findings) {
  for (std::size_t i = 0; i < uplink_count(config); ++i) {
    check_uplink(uplink_at(config, i), uplink_path(config, i), findings);
    check_client_port(config, i, findings);
  }
  check_several(config, findings);
}

}  // namespace vmnat::config
