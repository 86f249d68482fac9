// SPDX-License-Identifier: Apache-2.0
#include "control/plan/forwards.h"

#include <set>

#include "control/plan/external_addresses.h"

namespace vmnat::control {
namespace {

using dataplane::ForwardingState;
using dataplane::WordTable;

// The external address that a VM's flows have (RFC 6888 REQ-2): of those that do not drain the first one, from
// the paired one on. Nothing: all of them drain.
std::optional<net::Ipv4Addr> paired_with(net::Endpoint internal, const std::vector<net::Ipv4Addr>& addresses,
                                         const std::set<net::Ipv4Addr>& draining) {
  const std::size_t first = conntrack::Conntrack::paired(internal.address, addresses.size());
  for (std::size_t i = 0; i < addresses.size(); ++i)
    if (const auto address = addresses[(first + i) % addresses.size()]; !draining.contains(address))
      return address;
  return std::nullopt;
}

WordTable<dataplane::Forward> forward_table(const std::vector<ForwardPlan>& forwards) {
  std::vector<WordTable<dataplane::Forward>::Entry> entries;
  for (const ForwardPlan& plan : forwards)
    if (!plan.external.address.is_unspecified())
      entries.push_back({ForwardingState::forward_word(plan.external, plan.protocol),
                         {.to = plan.to, .network = plan.network, .is_draining = plan.is_draining}});
  return WordTable<dataplane::Forward>(entries);
}

WordTable<net::Endpoint> mapping_table(const std::vector<ForwardPlan>& forwards) {
  std::set<std::uint64_t> known;
  std::vector<WordTable<net::Endpoint>::Entry> entries;
  for (const ForwardPlan& plan : forwards) {
    if (plan.external.address.is_unspecified() || !plan.is_mapping) continue;
    const std::uint64_t internal = ForwardingState::forward_word(plan.to, plan.protocol);
    if (known.insert(internal).second) entries.push_back({internal, plan.external});
  }
  return WordTable<net::Endpoint>(entries);
}

}  // namespace

std::vector<ForwardPlan> plan_forwards(const config::Config& config, net::Ipv4Addr rented) {
  std::vector<ForwardPlan> forwards;
  const std::set<net::Ipv4Addr> draining = draining_addresses(config);
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const std::vector<net::Ipv4Addr> addresses = planned_addresses(config.networks[i]);
    if (addresses.empty()) continue;
    for (const config::PortForward& forward : config.networks[i].nat.forwards) {
      const auto paired = paired_with(forward.to, addresses, draining);
      for (const net::Ipv4Addr planned : addresses)
        if (const auto address = planned.is_unspecified() ? rented : planned; listens_on(forward, address))
          forwards.push_back(
              {.external = {address, forward.port},
               .protocol = forward.protocol,
               .to = forward.to,
               .network = static_cast<NetworkIndex>(i),
               .is_mapping = !draining.contains(planned) && (forward.address || planned == paired),
               .is_draining = draining.contains(planned)});
    }
  }
  return forwards;
}

void set_forwards(const std::vector<ForwardPlan>& forwards, ForwardingState& state) {
  state.forwards = forward_table(forwards);
  state.static_mappings = mapping_table(forwards);
}

}  // namespace vmnat::control
