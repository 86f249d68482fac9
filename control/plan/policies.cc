// SPDX-License-Identifier: Apache-2.0
#include "control/plan/policies.h"

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

conntrack::MidStream mid_stream_of(config::TcpMidStream mid_stream) {
  return mid_stream == config::TcpMidStream::PickUp ? conntrack::MidStream::PickUp
                                                    : conntrack::MidStream::Refuse;
}

}  // namespace

std::vector<conntrack::NatPolicy> plan_policies(const config::Config& config,
                                                const AddressLists& address_lists) {
  std::vector<conntrack::NatPolicy> policies;
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const config::Nat& nat = config.networks[i].nat;
    policies.push_back({.addresses = address_lists[i],
                        .mapping = mapping_of(nat.mapping),
                        .filtering = filtering_of(nat.filtering),
                        .overload = nat.overload,
                        .mid_stream = mid_stream_of(nat.tcp_mid_stream),
                        .timeouts = {.tcp_established = ticks(nat.timeouts.tcp_established),
                                     .tcp_transitory = ticks(nat.timeouts.tcp_transitory),
                                     .udp = ticks(nat.timeouts.udp),
                                     .udp_answered = ticks(nat.timeouts.udp_answered),
                                     .icmp = ticks(nat.timeouts.icmp),
                                     .other = ticks(nat.timeouts.other)},
                        .sessions_per_port = nat.limits.sessions_per_port,
                        .new_sessions_per_second = nat.limits.new_sessions_per_second,
                        .block_ports = nat.block_allocation});
  }
  return policies;
}

}  // namespace vmnat::control
