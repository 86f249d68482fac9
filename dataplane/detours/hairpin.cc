// SPDX-License-Identifier: Apache-2.0
#include "dataplane/detours/hairpin.h"

#include "dataplane/pipeline/fragments.h"
#include "dataplane/pipeline/parse.h"
#include "dataplane/pipeline/pipeline.h"

namespace vmnat::dataplane {

void turn_round(Context& context, rte_mbuf* frame, PortIndex from) {
  Burst burst;
  burst.port = from;
  burst.count = 1;
  burst.frames[0] = frame;
  parse<Direction::Inbound>(burst);
  if (burst.has_fragments) collect_fragments<Direction::Inbound>(context, burst);
  route_inbound(context, burst);
}

}  // namespace vmnat::dataplane
