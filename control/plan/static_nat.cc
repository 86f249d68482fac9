// SPDX-License-Identifier: Apache-2.0
#include "control/plan/static_nat.h"

namespace vmnat::control {

std::vector<dataplane::AddressPair> plan_static_nat(const config::Config& config) {
  std::vector<dataplane::AddressPair> pairs;
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const config::Network& network = config.networks[i];
    if (network.forward != config::Forward::Nat) continue;
    for (const auto& [internal, external] : network.nat.static_nat)
      pairs.push_back({internal, external, static_cast<dataplane::NetworkIndex>(i)});
  }
  return pairs;
}

void set_static_nat(const std::vector<dataplane::AddressPair>& pairs, dataplane::ForwardingState& state) {
  using Table = dataplane::WordTable<dataplane::AddressPair>;
  std::vector<Table::Entry> by_internal, by_external;
  for (const dataplane::AddressPair& pair : pairs) {
    by_internal.push_back({pair.internal.raw(), pair});
    by_external.push_back({pair.external.raw(), pair});
  }
  state.pairs_by_internal = Table(by_internal);
  state.pairs_by_external = Table(by_external);
}

}  // namespace vmnat::control
