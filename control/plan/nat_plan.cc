// SPDX-License-Identifier: Apache-2.0
#include "control/plan/nat_plan.h"

#include <algorithm>

#include "control/plan/policies.h"

namespace vmnat::control {
namespace {

using conntrack::AllowedPorts;
using conntrack::ExternalAddresses;
using conntrack::ExternalIndex;
using Entry = ExternalAddresses::Entry;

std::shared_ptr<const AllowedPorts> common_ports(const std::shared_ptr<const AllowedPorts>& a,
                                                 const std::shared_ptr<const AllowedPorts>& b) {
  if (a == b) return a;
  AllowedPorts both = AllowedPorts::common(*a, *b);
  if (both == *b) return b;
  return both == *a ? a : std::make_shared<const AllowedPorts>(both);
}

// No port of an address that goes is allowed. One that drains before or after drains meanwhile.
Entry closing_entry(const Entry& former, const Entry& wanted) {
  if (former.ports == nullptr) return wanted;
  if (wanted.ports == nullptr) return {former.address, std::make_shared<const AllowedPorts>(), false};
  return {wanted.address, common_ports(former.ports, wanted.ports), former.is_draining || wanted.is_draining};
}

Entry entry_at(const ExternalAddresses& external, std::size_t index) {
  return index < external.size() ? external.entries()[index] : Entry{};
}

// What the network had and is to have no more.
std::vector<ExternalIndex> leaving(const AddressLists& former, const AddressLists& wanted,
                                   std::size_t network) {
  std::vector<ExternalIndex> left;
  if (network >= former.size()) return left;
  std::vector<ExternalIndex> kept = network < wanted.size() ? wanted[network] : std::vector<ExternalIndex>{};
  std::ranges::sort(kept);
  for (const ExternalIndex external : former[network])
    if (!std::ranges::binary_search(kept, external)) left.push_back(external);
  return left;
}

bool lead_to_the_same(const dataplane::ForwardRules& a, const dataplane::ForwardRules& b) {
  return a.rules == b.rules && a.network == b.network;
}

bool has_pair(const std::vector<dataplane::AddressPair>& pairs, const dataplane::AddressPair& pair) {
  return std::ranges::find(pairs, pair) != pairs.end();
}

}  // namespace

NatPlan plan_nat(const config::Config& config, const ExternalAddresses* running, const NetworkWays& ways) {
  NatPlan plan{.config = on_uplinks(config, ways),
               .ways = ways,
               .external = {},
               .uplinks_of_external = {},
               .address_lists = {},
               .policies = {}};
  plan.external = plan_external_addresses(plan.config, running);
  plan.uplinks_of_external = plan_uplinks_of(plan.config, *plan.external, ways);
  plan.address_lists = plan_all_addresses(plan.config, *plan.external);
  plan.policies = plan_policies(plan.config, plan_address_lists(plan.config, *plan.external));
  add_pools(plan.config, *plan.external, plan.policies);
  return plan;
}

NatPlan plan_closing(const NatPlan& former, const NatPlan& wanted) {
  NatPlan closing = wanted;
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < std::max(former.external->size(), wanted.external->size()); ++i)
    entries.push_back(closing_entry(entry_at(*former.external, i), entry_at(*wanted.external, i)));
  closing.external = std::make_shared<const ExternalAddresses>(std::move(entries));
  for (std::size_t i = 0; i < closing.policies.size(); ++i)
    closing.policies[i].leaving = leaving(former.address_lists, wanted.address_lists, i);
  return closing;
}

std::vector<ForwardPlan> common_forwards(const std::vector<ForwardPlan>& former,
                                         const std::vector<ForwardPlan>& wanted) {
  const auto before = listeners_of(former), after = listeners_of(wanted);
  const auto is_common = [&](const ForwardPlan& forward, unsigned port) {
    const ListeningEndpoint listener{forward.external_at(port), forward.protocol};
    const auto was = before.find(listener), is = after.find(listener);
    return was != before.end() && is != after.end() && lead_to_the_same(was->second, is->second);
  };
  std::vector<ForwardPlan> common;
  for (const ForwardPlan& forward : wanted) {
    unsigned port = 0;
    while (port < forward.ports && is_common(forward, port)) ++port;
    if (port == forward.ports) common.push_back(forward);
  }
  return common;
}

std::vector<dataplane::AddressPair> closing_pairs(const NatPlan& former, const NatPlan& wanted) {
  const auto before = plan_static_nat(former.config);
  auto pairs = plan_static_nat(wanted.config);
  for (dataplane::AddressPair& pair : pairs)
    pair.is_draining = former.external->index_of(pair.external) && !has_pair(before, pair);
  return pairs;
}

DeparturePlan plan_departures(const NatPlan& former, const NatPlan& wanted, const RentedAddresses& rented) {
  DeparturePlan plan;
  for (std::size_t network = 0; network < former.address_lists.size(); ++network)
    for (const ExternalIndex index : leaving(former.address_lists, wanted.address_lists, network)) {
      const net::Ipv4Addr address = rented.now(former.external->address(index));
      if (!address.is_unspecified()) plan.addresses.push_back({static_cast<NetworkIndex>(network), address});
    }
  const auto pairs = plan_static_nat(wanted.config);
  for (const dataplane::AddressPair& pair : plan_static_nat(former.config))
    if (!has_pair(pairs, pair)) plan.addresses.push_back({pair.network, pair.external});
  if (may_end_exemptions(former.config, wanted.config)) {
    const auto rules = plan_egress_rules(wanted.config);
    plan.rules = rules != nullptr ? *rules : dataplane::EgressRulesByNetwork{};
  }
  const auto before = listeners_of(plan_forwards(former.config, rented));
  const auto after = listeners_of(plan_forwards(wanted.config, rented));
  for (const auto& [listener, rules] : before)
    if (!after.contains(listener)) plan.ports.push_back({listener.first, listener.second, {}});
  for (const auto& [listener, rules] : after)
    if (const auto was = before.find(listener); was == before.end() || !lead_to_the_same(was->second, rules))
      plan.ports.push_back({listener.first, listener.second, rules.rules});
  return plan;
}

}  // namespace vmnat::control
