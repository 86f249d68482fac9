// SPDX-License-Identifier: Apache-2.0
// What the end of a frame has to know of those who observe: that they are to be told (watch.h).
#pragma once

#include "base/ids.h"
#include "dataplane/frame/drop_reasons.h"

struct rte_mbuf;

namespace vmnat::dataplane {

class Watch;

inline constexpr PortIndex kNoPort = 0xffff;

// Before the frame is freed. `from`: the port that it is charged to; `towards`: where it was to leave by, if known.
[[gnu::cold]] void see_dropped(Watch& watch, const rte_mbuf* frame, PortIndex from, DropReason reason,
                               PortIndex towards);

}  // namespace vmnat::dataplane
