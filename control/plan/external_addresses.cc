// SPDX-License-Identifier: Apache-2.0
#include "control/plan/external_addresses.h"

#include <algorithm>

namespace vmnat::control {
namespace {

std::vector<std::uint16_t> expanded(const std::vector<config::PortRange>& ranges) {
  std::vector<std::uint16_t> ports;
  for (const auto& range : ranges)
    for (std::uint32_t port = range.first.host(); port <= range.last.host(); ++port)
      ports.push_back(static_cast<std::uint16_t>(port));
  return ports;
}

// What no flow of a VM is given on this address: reserved ports, and those that forwards listen to. A rented
// address may become any.
std::vector<std::uint16_t> reserved_on(net::Ipv4Addr external, const config::Nat& nat) {
  std::vector<std::uint16_t> ports = expanded(nat.reserved_ports);
  for (const config::PortForward& forward : nat.forwards)
    if (external.is_unspecified() || listens_on(forward, external)) ports.push_back(forward.port.host());
  return ports;
}

conntrack::ExternalAddress external_address(net::Ipv4Addr address, const config::Nat& nat) {
  return {.address = address,
          .first_port = nat.ports.first.host(),
          .last_port = nat.ports.last.host(),
          .reserved = reserved_on(address, nat)};
}

// Two networks on one address: only what both of them allow is allocated there.
void narrow(conntrack::ExternalAddress& shared, const config::Nat& nat) {
  shared.first_port = std::max(shared.first_port, nat.ports.first.host());
  shared.last_port = std::min(shared.last_port, nat.ports.last.host());
  for (const std::uint16_t port : reserved_on(shared.address, nat))
    if (std::ranges::find(shared.reserved, port) == shared.reserved.end()) shared.reserved.push_back(port);
}

}  // namespace

std::vector<net::Ipv4Addr> planned_addresses(const config::Network& network) {
  if (network.forward != config::Forward::Nat) return {};
  std::vector<net::Ipv4Addr> addresses = config::external_addresses(network);
  if (addresses.empty()) addresses.emplace_back();
  return addresses;
}

std::vector<net::Ipv4Addr> external_addresses_now(const config::Network& network, net::Ipv4Addr rented) {
  std::vector<net::Ipv4Addr> addresses = planned_addresses(network);
  std::ranges::replace(addresses, net::Ipv4Addr{}, rented);
  std::erase(addresses, net::Ipv4Addr{});
  return addresses;
}

std::vector<conntrack::ExternalAddress> plan_external_addresses(const config::Config& config) {
  std::vector<conntrack::ExternalAddress> external{{}};
  if (config.uplink.address) external.front().address = config.uplink.address->address;
  for (const auto& network : config.networks)
    for (const net::Ipv4Addr address : planned_addresses(network)) {
      const auto known = std::ranges::find(external, address, &conntrack::ExternalAddress::address);
      if (known == external.end())
        external.push_back(external_address(address, network.nat));
      else
        narrow(*known, network.nat);
    }
  return external;
}

AddressLists plan_address_lists(const config::Config& config,
                                const std::vector<conntrack::ExternalAddress>& external) {
  AddressLists lists;
  for (const auto& network : config.networks) {
    auto& list = lists.emplace_back();
    for (const net::Ipv4Addr address : planned_addresses(network)) {
      const auto known = std::ranges::find(external, address, &conntrack::ExternalAddress::address);
      list.push_back(static_cast<conntrack::ExternalIndex>(known - external.begin()));
    }
  }
  return lists;
}

}  // namespace vmnat::control
