// SPDX-License-Identifier: Apache-2.0
// External addresses that are one VM's alone (nat.static), as workers know them.
#pragma once

#include <vector>

#include "control/config/model.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

// Of all networks with NAT.
std::vector<dataplane::AddressPair> plan_static_nat(const config::Config& config);
// Fills in what workers need of them.
void set_static_nat(const std::vector<dataplane::AddressPair>& pairs, dataplane::ForwardingState& state);

}  // namespace vmnat::control
