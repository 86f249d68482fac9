// SPDX-License-Identifier: Apache-2.0
// NatPlan: what the workers' NAT follows, as a configuration has it, and the way from one plan to another.
//
// Two plans that follow each other have the addresses that stay under the same index. Between them lies a
// third one, the closing: what both allow, the new addresses too, and nothing of what goes but its sessions,
// which can end now that none opens any more. Example: 203.0.113.8 goes, 203.0.113.9 comes, and port 8080 is
// forwarded to another VM.
//
//            addresses      sessions open by              port 8080 leads to
//   former   .8             .8                            vm1
//   closing  .8, .9         .9                            nobody: vm1's sessions end, and those of .8
//   wanted   .9             .9                            vm2
#pragma once

#include <vector>

#include "control/config/model.h"
#include "control/plan/external_addresses.h"
#include "control/plan/forwards.h"
#include "control/plan/nat_rules.h"
#include "control/plan/static_nat.h"
#include "dataplane/worker/departing_sessions.h"

namespace vmnat::control {

struct NatPlan {
  config::Config config;  // with networks on the uplinks of `ways`
  NetworkWays ways;
  ExternalTable external;  // what is rented stands in its place
  std::vector<std::uint8_t> uplinks_of_external;
  AddressLists address_lists;  // what networks have, by their rules, too
  conntrack::NatPolicies policies;
};

// `running`: the table of the plan that this one follows.
NatPlan plan_nat(const config::Config& config, const conntrack::ExternalAddresses* running = nullptr,
                 const NetworkWays& ways = {});

// What holds while the sessions end that `wanted` does not allow. Its configuration is that of `wanted`.
NatPlan plan_closing(const NatPlan& former, const NatPlan& wanted);
// The forwards that both have, and whose ports lead no remote elsewhere.
std::vector<ForwardPlan> common_forwards(const std::vector<ForwardPlan>& former,
                                         const std::vector<ForwardPlan>& wanted);
// The wanted pairs. An external address that was something else drains: nothing opens by it until its sessions of
// then have ended.
std::vector<dataplane::AddressPair> closing_pairs(const NatPlan& former, const NatPlan& wanted);

// The sessions that end, as lists for dataplane::DepartingSessions.
struct DeparturePlan {
  std::vector<dataplane::DepartingSessions::Address> addresses;
  std::vector<dataplane::DepartingSessions::Port> ports;
  std::optional<dataplane::EgressRulesByNetwork> rules;  // where flows may be exempt no more
  [[nodiscard]] bool is_empty() const { return addresses.empty() && ports.empty() && !rules; }
};
// `rented`: the addresses that DHCP has given uplinks.
DeparturePlan plan_departures(const NatPlan& former, const NatPlan& wanted, const RentedAddresses& rented);

}  // namespace vmnat::control
