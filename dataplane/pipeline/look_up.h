// SPDX-License-Identifier: Apache-2.0
// Look up: finds the session of every frame in the burst by its key, in one table for both directions.
//
// A frame without a session is rare. It goes to outbound_flow or inbound_flow, one at a time, which opens a
// session or ends the frame. A frame with a session needs no policy, because a session opens only for a frame
// that passed every check; only what may change from frame to frame is looked at here: TTL, size, the VM's
// place. What stays in the burst has a session and may be forwarded.
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

template <Direction direction>
void look_up(Context& context, Burst& burst);

extern template void look_up<Direction::Outbound>(Context&, Burst&);
extern template void look_up<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
