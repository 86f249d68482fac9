// SPDX-License-Identifier: Apache-2.0
// Limits of what VMs get and send, as workers have them (dataplane/context/limits.h).
#pragma once

#include <vector>

#include "control/config/model.h"
#include "control/plan/ports.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

// The workers' clock: time stamp counter, and its ticks a second.
struct LimitClock {
  std::uint64_t now = 0, hz = 0;
};

// One direction, with defaults filled in.
dataplane::Limit::Rates rates_of(const config::RateLimit& limit);

// Fills in the table of limits, and which ports have one. Who has the same limit as before keeps it, with what has been
// taken of it; another one starts with a whole burst. `config` has its networks at their numbers; `state` says which
// uplinks they are on.
void set_limits(const config::Config& config, const std::vector<PortPlan>& ports, const LimitClock& clock,
                dataplane::ForwardingState& state);

}  // namespace vmnat::control
