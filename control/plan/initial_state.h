// SPDX-License-Identifier: Apache-2.0
// The forwarding state as the configuration has it, before any device is open and anything was learned.
#pragma once

#include <vector>

#include "control/config/model.h"
#include "control/plan/ports.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

// The gateway's MAC on a network: configured, or made from the network's name.
net::MacAddr gateway_mac(const config::Network& network);

// All ports are down. Left out is what devices say (the uplink's MAC, which ports are spread over workers),
// and the NAT policies.
dataplane::ForwardingState initial_state(const config::Config& config, const std::vector<PortPlan>& ports);

}  // namespace vmnat::control
