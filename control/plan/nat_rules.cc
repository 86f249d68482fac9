// SPDX-License-Identifier: Apache-2.0
#include "control/plan/nat_rules.h"

#include <algorithm>

namespace vmnat::control {
namespace {

using conntrack::ExternalIndex;
using conntrack::PoolIndex;

dataplane::EgressRules rules_of(const config::Network& network) {
  if (network.forward == config::Forward::Route) return {{.is_translated = false}};
  dataplane::EgressRules rules;
  const auto pools = planned_pools(network);
  for (const config::NatRule& rule : network.nat.rules) {
    constexpr net::Ipv4Prefix kAny{{}, 0};
    const bool is_translated = !rule.addresses.empty();
    const auto pool = static_cast<PoolIndex>(is_translated ? pool_with(pools, config::all_of(rule.addresses))
                                                           : std::size_t{0});
    rules.push_back({.from = rule.from.value_or(kAny),
                     .to = rule.to.value_or(kAny),
                     .is_translated = is_translated,
                     .pool = pool});
  }
  return rules;
}

bool has_rules(const config::Network& network) {
  return network.forward == config::Forward::Route ||
         (network.forward == config::Forward::Nat && !network.nat.rules.empty());
}

bool exempts(const config::Network& network) {
  return has_rules(network) && dataplane::has_exemption(rules_of(network));
}

// `pools`: the network's own addresses, and those of its rules.
void add_pools_of(const std::vector<std::vector<net::Ipv4Addr>>& pools,
                  const conntrack::ExternalAddresses& external, conntrack::NatPolicy& policy) {
  policy.pools_by_address.assign(external.size(), conntrack::kNoPool);
  for (const ExternalIndex index : policy.addresses) policy.pools_by_address[index] = 0;
  for (std::size_t number = 1; number < pools.size(); ++number) {
    auto& pool = policy.more_pools.emplace_back();
    for (const net::Ipv4Addr address : pools[number]) {
      pool.push_back(external.index_of(address).value());
      policy.pools_by_address[pool.back()] = static_cast<PoolIndex>(number);
    }
  }
}

}  // namespace

void add_pools(const config::Config& config, const conntrack::ExternalAddresses& external,
               conntrack::NatPolicies& policies) {
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const auto pools = planned_pools(config.networks[i]);
    if (pools.size() > 1) add_pools_of(pools, external, policies[i]);
  }
}

std::shared_ptr<const dataplane::EgressRulesByNetwork> plan_egress_rules(const config::Config& config) {
  if (std::ranges::none_of(config.networks, has_rules)) return nullptr;
  dataplane::EgressRulesByNetwork rules;
  for (const config::Network& network : config.networks)
    rules.push_back(has_rules(network) ? rules_of(network) : dataplane::EgressRules{});
  return std::make_shared<const dataplane::EgressRulesByNetwork>(std::move(rules));
}

bool may_end_exemptions(const config::Config& former, const config::Config& wanted) {
  for (std::size_t i = 0; i < former.networks.size(); ++i) {
    if (!exempts(former.networks[i])) continue;
    const config::Network& was = former.networks[i];
    if (i >= wanted.networks.size() || was.forward != wanted.networks[i].forward ||
        was.nat.rules != wanted.networks[i].nat.rules)
      return true;
  }
  return false;
}

}  // namespace vmnat::control
