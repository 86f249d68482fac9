// SPDX-License-Identifier: Apache-2.0
// The forwarding state as the configuration has it: the first one, before any device is open and anything was
// learned; and what a change of ports and networks changes of a later one.
#pragma once

#include <vector>

#include "control/config/model.h"
#include "control/plan/external_addresses.h"
#include "control/plan/ports.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

// The gateway's MAC on a network: configured, or made from the network's name.
net::MacAddr gateway_mac(const config::Network& network);

// All ports are down. Left out is what devices say (the uplinks' MACs, which ports are spread over workers),
// and the NAT policies. `config` has its networks at their numbers.
dataplane::ForwardingState initial_state(const config::Config& config, const std::vector<PortPlan>& ports,
                                         const NetworkWays& ways = {});

// Ports and networks become those of the plan. What has been learned of networks that stay is kept. Ports
// that have come or left are down.
void set_topology(const config::Config& config, const std::vector<PortPlan>& ports,
                  dataplane::ForwardingState& state);

}  // namespace vmnat::control
