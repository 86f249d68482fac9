// SPDX-License-Identifier: Apache-2.0
// The rules of networks (nat.rules) as conntrack and the packet path know them: more pools in a network's policy, and
// which flows have theirs by which.
//
//   nat: {addresses: [.8-.9], rules: [{to: 10.0.0.0/8, addresses: none}, {from: .20, addresses: [.12]},
//         {from: .21, addresses: [.8-.9]}]}          pool 0: .8, .9     pool 1: .12     the rule of .21 is of pool 0
#pragma once

#include <memory>
#include <vector>

#include "control/config/model.h"
#include "control/plan/external_addresses.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

// The policies have the pools of the rules, too.
void add_pools(const config::Config& config, const conntrack::ExternalAddresses& external,
               conntrack::NatPolicies& policies);

// By network; nullptr: none has any.
std::shared_ptr<const dataplane::EgressRulesByNetwork> plan_egress_rules(const config::Config& config);
// Sessions that are not translated may be so no more.
bool may_end_exemptions(const config::Config& former, const config::Config& wanted);

}  // namespace vmnat::control
