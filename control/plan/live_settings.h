// SPDX-License-Identifier: Apache-2.0
// What may change of a network while the gateway runs: by a reload, or with the MTU of the uplink's lease.
#pragma once

#include "control/config/model.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

// Fills in every network's MSS clamp, the services of the host that are open to it, its answer to TCP in mid-stream and to senders that get no session.
// Which uplinks networks are on, and their MTUs, are filled in before: where the file says no segment size, the smaller
// MTU decides.
void set_live(const config::Config& config, dataplane::ForwardingState& state);

}  // namespace vmnat::control
