// SPDX-License-Identifier: Apache-2.0
// Learning: opens every flow with one frame, verifies its translation, and sends one frame back through it.
//
// RFC 9693's phase 1. Frames that are lost (the first ones, while the device resolves its next hop) are sent
// again, in rounds; a bounded window of frames is under way, so that a slow new-flow path is not overrun.
#pragma once

#include "bench/generator/tester.h"

namespace vmnat::bench {

struct LearningResult {
  FlowNumber opened = 0;        // flows learned by this call
  FlowNumber missing = 0;       // flows of which no frame came, after all rounds
  FlowNumber missing_back = 0;  // flows whose answer did not come back
  std::uint64_t retries = 0;    // frames sent again
  double open_seconds = 0;      // from the first frame to the last learned flow
};

// Flows 0..count-1; those known already are not opened again. Without translation there is nothing to learn.
LearningResult learn_flows(Tester& tester, FlowNumber count);

}  // namespace vmnat::bench
