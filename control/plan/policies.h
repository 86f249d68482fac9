// SPDX-License-Identifier: Apache-2.0
// NAT policies, as conntrack has them: one a network.
#pragma once

#include <memory>
#include <vector>

#include "conntrack/conntrack.h"
#include "control/config/model.h"
#include "control/plan/external_addresses.h"

namespace vmnat::control {

// By network. Their spans of addresses point into `address_lists`, which outlives them.
std::vector<conntrack::NatPolicy> plan_policies(const config::Config& config,
                                                const AddressLists& address_lists);
// The same, with the lists that they point into.
std::shared_ptr<const conntrack::NatPolicies> make_policies(const config::Config& config,
                                                            const AddressLists& address_lists);

}  // namespace vmnat::control
