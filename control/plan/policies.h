// SPDX-License-Identifier: Apache-2.0
// NAT policies, as conntrack has them: one a network.
#pragma once

#include <vector>

#include "conntrack/conntrack.h"
#include "control/config/model.h"
#include "control/plan/external_addresses.h"

namespace vmnat::control {

// By network.
std::vector<conntrack::NatPolicy> plan_policies(const config::Config& config,
                                                const AddressLists& address_lists);

}  // namespace vmnat::control
