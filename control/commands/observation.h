// SPDX-License-Identifier: Apache-2.0
// The commands `capture` and `trace`: what a client wants to see of the workers' frames, made an observer, and the
// stream that shows it. The observer goes with the answer: when it is finished, or its reader has died.
#pragma once

#include "control/admin/server.h"
#include "control/gateway/gateway.h"
#include "control/observe/observers.h"

namespace vmnat::control {

// A stream of pcapng blocks, whole ones in each item; the last item is an object: `captured`, `missed`. Errors: a
// filter that may not run, a port that there is not, too many observers.
Result<admin::Answer> capture(Observers& observers, const std::vector<PortPlan>& ports,
                              const admin::Json& arguments);

// A stream of frames, each with its way; the last element is an object: `traced`, `missed`. Errors: as of `capture`; a
// trace is under way.
Result<admin::Answer> trace(Observers& observers, const std::vector<PortPlan>& ports,
                            const admin::Json& arguments);

}  // namespace vmnat::control
