// SPDX-License-Identifier: Apache-2.0
#include "control/plan/nat_plan.h"

#include <algorithm>
#include <map>

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

using Listener = std::pair<net::Endpoint, net::Protocol>;
std::map<Listener, ForwardPlan> by_listener(const std::vector<ForwardPlan>& forwards) {
  std::map<Listener, ForwardPlan> listeners;
  for (const ForwardPlan& forward : forwards)
    listeners.emplace(Listener{forward.external, forward.protocol}, forward);
  return listeners;
}

bool leads_to_the_same(const ForwardPlan& a, const ForwardPlan& b) {
  return a.to == b.to && a.network == b.network;
}

void add_departure(const ForwardPlan& forward, net::Endpoint staying,
                   std::vector<dataplane::DepartingSessions::Port>& ports) {
  if (!forward.external.address.is_unspecified())
    ports.push_back({forward.external, forward.protocol, staying});
}

}  // namespace

NatPlan plan_nat(const config::Config& config, const ExternalAddresses* running) {
  NatPlan plan{.config = config,
               .external = plan_external_addresses(config, running),
               .address_lists = {},
               .policies = {}};
  plan.address_lists = plan_address_lists(config, *plan.external);
  plan.policies = plan_policies(config, plan.address_lists);
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
  const auto known = by_listener(former);
  std::vector<ForwardPlan> common;
  std::ranges::copy_if(wanted, std::back_inserter(common), [&](const ForwardPlan& forward) {
    const auto same = known.find({forward.external, forward.protocol});
    return same != known.end() && leads_to_the_same(same->second, forward);
  });
  return common;
}

DeparturePlan plan_departures(const NatPlan& former, const NatPlan& wanted, net::Ipv4Addr rented) {
  DeparturePlan plan;
  for (std::size_t network = 0; network < former.address_lists.size(); ++network)
    for (const ExternalIndex index : leaving(former.address_lists, wanted.address_lists, network)) {
      const net::Ipv4Addr planned = former.external->address(index);
      const net::Ipv4Addr address = planned.is_unspecified() ? rented : planned;
      if (!address.is_unspecified()) plan.addresses.push_back({static_cast<NetworkIndex>(network), address});
    }
  const auto before = by_listener(plan_forwards(former.config, rented));
  const auto after = by_listener(plan_forwards(wanted.config, rented));
  for (const auto& [listener, forward] : before)
    if (!after.contains(listener)) add_departure(forward, {}, plan.ports);
  for (const auto& [listener, forward] : after)
    if (const auto same = before.find(listener);
        same == before.end() || !leads_to_the_same(same->second, forward))
      add_departure(forward, forward.to, plan.ports);
  return plan;
}

}  // namespace vmnat::control
