// SPDX-License-Identifier: Apache-2.0
// What the doctor is told of the running gateway. Control's thread.
#pragma once

#include "control/commands/context.h"
#include "control/commands/statistics.h"
#include "control/doctor/live_facts.h"

namespace vmnat::control {

// Once a second, of what was counted at that.
void look_for_doctor(const CommandContext& at, const Counts& counts, SteadyTime now, doctor::Watch& watch);

doctor::LiveFacts live_facts(const CommandContext& at);

}  // namespace vmnat::control
