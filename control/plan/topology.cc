// SPDX-License-Identifier: Apache-2.0
#include "control/plan/topology.h"

#include <algorithm>
#include <limits>
#include <set>

namespace vmnat::control {
namespace {

Ticks ticks(std::chrono::seconds time) {
  return std::chrono::duration_cast<Ticks>(time);
}

conntrack::Mapping mapping_of(config::Mapping mapping) {
  return mapping == config::Mapping::EndpointIndependent ? conntrack::Mapping::EndpointIndependent
                                                         : conntrack::Mapping::EndpointDependent;
}

conntrack::Filtering filtering_of(config::Filtering filtering) {
  switch (filtering) {
    case config::Filtering::EndpointIndependent:
      return conntrack::Filtering::EndpointIndependent;
    case config::Filtering::AddressDependent:
      return conntrack::Filtering::AddressDependent;
    case config::Filtering::AddressAndPortDependent:
      break;
  }
  return conntrack::Filtering::AddressAndPortDependent;
}

dataplane::ExhaustionAnswer answer_of(config::ExhaustionIcmp icmp) {
  switch (icmp) {
    case config::ExhaustionIcmp::HostUnreachable:
      return dataplane::ExhaustionAnswer::HostUnreachable;
    case config::ExhaustionIcmp::Off:
      return dataplane::ExhaustionAnswer::Nothing;
    case config::ExhaustionIcmp::AdminProhibited:
      break;
  }
  return dataplane::ExhaustionAnswer::Prohibited;
}

std::vector<std::uint16_t> expanded(const std::vector<config::PortRange>& ranges) {
  std::vector<std::uint16_t> ports;
  for (const auto& range : ranges)
    for (std::uint32_t port = range.first.host(); port <= range.last.host(); ++port)
      ports.push_back(static_cast<std::uint16_t>(port));
  return ports;
}

bool is_on(const config::PortForward& forward, net::Ipv4Addr external) {
  return forward.address.value_or(external) == external;
}

// What no flow of a VM is given on this address: reserved ports, and those that forwards listen to. A rented
// address may become any.
std::vector<std::uint16_t> reserved_on(net::Ipv4Addr external, const config::Nat& nat) {
  std::vector<std::uint16_t> ports = expanded(nat.reserved_ports);
  for (const config::PortForward& forward : nat.forwards)
    if (external.is_unspecified() || is_on(forward, external)) ports.push_back(forward.port.host());
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

// Those of the file; unspecified stands for the one that DHCP gives.
std::vector<net::Ipv4Addr> planned_addresses(const config::Network& network) {
  std::vector<net::Ipv4Addr> addresses = config::external_addresses(network);
  if (addresses.empty() && network.forward == config::Forward::Nat) addresses.emplace_back();
  return addresses;
}

// The external address that a VM's flows have (RFC 6888 REQ-2).
net::Ipv4Addr paired_with(net::Endpoint internal, const std::vector<net::Ipv4Addr>& addresses) {
  return addresses[conntrack::Conntrack::paired(internal.address, addresses.size())];
}

dataplane::WordTable<dataplane::Forward> forward_table(const std::vector<ForwardPlan>& forwards) {
  std::vector<dataplane::WordTable<dataplane::Forward>::Entry> entries;
  for (const ForwardPlan& plan : forwards)
    if (!plan.external.address.is_unspecified())
      entries.push_back({dataplane::ForwardingState::forward_word(plan.external, plan.protocol),
                         {.to = plan.to, .network = plan.network}});
  return dataplane::WordTable<dataplane::Forward>(entries);
}

dataplane::WordTable<net::Endpoint> mapping_table(const std::vector<ForwardPlan>& forwards) {
  std::set<std::uint64_t> known;
  std::vector<dataplane::WordTable<net::Endpoint>::Entry> entries;
  for (const ForwardPlan& plan : forwards) {
    if (plan.external.address.is_unspecified() || !plan.is_mapping) continue;
    const std::uint64_t internal = dataplane::ForwardingState::forward_word(plan.to, plan.protocol);
    if (known.insert(internal).second) entries.push_back({internal, plan.external});
  }
  return dataplane::WordTable<net::Endpoint>(entries);
}

}  // namespace

std::vector<PortPlan> plan_ports(const config::Config& config, unsigned worker_count) {
  std::vector<PortPlan> ports{{.name = "uplink"}};
  for (std::size_t i = 0; i < config.networks.size(); ++i)
    for (const auto& port : config.networks[i].ports)
      ports.push_back({.name = port.name,
                       .network = static_cast<NetworkIndex>(i),
                       .config = &port,
                       .owner = static_cast<WorkerIndex>(ports.size() % worker_count)});
  return ports;
}

net::MacAddr gateway_mac(const config::Network& network) {
  return network.mac ? *network.mac : net::mac_made_from(network.name);
}

std::vector<conntrack::ExternalAddress> plan_external_addresses(const config::Config& config) {
  std::vector<conntrack::ExternalAddress> external{{}};
  if (config.uplink.address) external.front().address = config.uplink.address->address;
  for (const auto& network : config.networks) {
    if (network.forward != config::Forward::Nat) continue;
    for (const net::Ipv4Addr address : planned_addresses(network)) {
      const auto known = std::ranges::find(external, address, &conntrack::ExternalAddress::address);
      if (known == external.end())
        external.push_back(external_address(address, network.nat));
      else
        narrow(*known, network.nat);
    }
  }
  return external;
}

AddressLists plan_address_lists(const config::Config& config,
                                const std::vector<conntrack::ExternalAddress>& external) {
  AddressLists lists;
  for (const auto& network : config.networks) {
    auto& list = lists.emplace_back();
    if (network.forward != config::Forward::Nat) continue;
    for (const net::Ipv4Addr address : planned_addresses(network)) {
      const auto known = std::ranges::find(external, address, &conntrack::ExternalAddress::address);
      list.push_back(static_cast<conntrack::ExternalIndex>(known - external.begin()));
    }
  }
  return lists;
}

std::vector<conntrack::NatPolicy> plan_policies(const config::Config& config,
                                                const AddressLists& address_lists) {
  std::vector<conntrack::NatPolicy> policies;
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const config::Nat& nat = config.networks[i].nat;
    policies.push_back({.addresses = address_lists[i],
                        .mapping = mapping_of(nat.mapping),
                        .filtering = filtering_of(nat.filtering),
                        .overload = nat.overload,
                        .mid_stream = nat.tcp_mid_stream == config::TcpMidStream::PickUp
                                          ? conntrack::MidStream::PickUp
                                          : conntrack::MidStream::Refuse,
                        .timeouts = {.tcp_established = ticks(nat.timeouts.tcp_established),
                                     .tcp_transitory = ticks(nat.timeouts.tcp_transitory),
                                     .udp = ticks(nat.timeouts.udp),
                                     .udp_answered = ticks(nat.timeouts.udp_answered),
                                     .icmp = ticks(nat.timeouts.icmp),
                                     .other = ticks(nat.timeouts.other)},
                        .sessions_per_port = nat.limits.sessions_per_port,
                        .new_sessions_per_second = nat.limits.new_sessions_per_second});
  }
  return policies;
}

std::vector<ForwardPlan> plan_forwards(const config::Config& config, net::Ipv4Addr rented) {
  std::vector<ForwardPlan> forwards;
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    if (config.networks[i].forward != config::Forward::Nat) continue;
    const std::vector<net::Ipv4Addr> addresses = planned_addresses(config.networks[i]);
    for (const config::PortForward& forward : config.networks[i].nat.forwards)
      for (const net::Ipv4Addr planned : addresses)
        if (const auto address = planned.is_unspecified() ? rented : planned; is_on(forward, address))
          forwards.push_back(
              {.external = {address, forward.port},
               .protocol = forward.protocol,
               .to = forward.to,
               .network = static_cast<NetworkIndex>(i),
               .is_mapping = forward.address || planned == paired_with(forward.to, addresses)});
  }
  return forwards;
}

void set_forwards(const std::vector<ForwardPlan>& forwards, dataplane::ForwardingState& state) {
  state.forwards = forward_table(forwards);
  state.static_mappings = mapping_table(forwards);
}

std::vector<net::Ipv4Addr> external_addresses_now(const config::Network& network, net::Ipv4Addr rented) {
  std::vector<net::Ipv4Addr> addresses = planned_addresses(network);
  std::ranges::replace(addresses, net::Ipv4Addr{}, rented);
  std::erase(addresses, net::Ipv4Addr{});
  return addresses;
}

void set_live(const config::Config& config, dataplane::ForwardingState& state) {
  constexpr std::uint16_t kHeaders = 40;  // IPv4's and TCP's
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const config::Network& network = config.networks[i];
    const std::uint16_t uplink_mtu = state.uplink.mtu == 0 ? network.mtu : state.uplink.mtu;  // 0: not known
    const std::uint16_t mtu = std::min(uplink_mtu, network.mtu);
    const auto fitting = static_cast<std::uint16_t>(std::max(mtu, std::uint16_t{kHeaders + 1}) - kHeaders);
    state.networks[i].most_mss = network.nat.mss_clamp.value_or(fitting);
    state.networks[i].resets_mid_stream = network.nat.tcp_mid_stream == config::TcpMidStream::Reset;
    state.networks[i].exhaustion_answer = answer_of(network.nat.exhaustion_icmp);
  }
}

dataplane::ForwardingState initial_state(const config::Config& config, const std::vector<PortPlan>& ports) {
  dataplane::ForwardingState state;
  state.uplink.address = config.uplink.address.value_or(net::Ipv4Prefix{});
  state.uplink.gateway = config.uplink.gateway.value_or(net::Ipv4Addr{});
  state.uplink.mtu = config.uplink.address ? config.uplink.mtu : std::uint16_t{0};
  state.smallest_mtu = std::numeric_limits<std::uint16_t>::max();
  for (const auto& network : config.networks) {
    state.smallest_mtu = std::min(state.smallest_mtu, network.mtu);
    state.networks.push_back({.gateway = network.address,
                              .mac = gateway_mac(network),
                              .nat = network.forward == config::Forward::Nat,
                              .dhcp = network.dhcp.has_value(),
                              .isolated_ports = network.isolated_ports,
                              .mtu = network.mtu});
  }
  set_live(config, state);
  set_forwards(plan_forwards(config), state);
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const bool is_uplink = ports[i].network == dataplane::kNoNetwork;
    const std::uint16_t mtu = is_uplink ? config.uplink.mtu : state.networks[ports[i].network].mtu;
    state.ports.push_back({.network = ports[i].network,
                           .owner = ports[i].owner,
                           .is_segment = is_segment(ports[i]),
                           .mtu = mtu});
    if (!is_uplink) state.networks[ports[i].network].ports.push_back(static_cast<PortIndex>(i));
  }
  return state;
}

}  // namespace vmnat::control
