// SPDX-License-Identifier: Apache-2.0
#include "dataplane/detours/hairpin.h"

namespace vmnat::dataplane {

void turn_round(Context& context, rte_mbuf* frame, PortIndex from) {
  context.queue_errand(frame, {.port = from, .errand = FrameNote::Errand::RouteInbound});
}

}  // namespace vmnat::dataplane
