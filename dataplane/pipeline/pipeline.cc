// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/pipeline.h"

#include "dataplane/detours/refuse.h"
#include "dataplane/pipeline/deliver.h"
#include "dataplane/pipeline/fragments.h"
#include "dataplane/pipeline/gro.h"
#include "dataplane/pipeline/look_up.h"
#include "dataplane/pipeline/oversize.h"
#include "dataplane/pipeline/parse.h"
#include "dataplane/pipeline/steer.h"
#include "dataplane/pipeline/switch.h"
#include "dataplane/pipeline/translate.h"

namespace vmnat::dataplane {
namespace {

template <Direction direction>
void deliver(Context& context, Burst& burst, StageClock& clock) {
  if (burst.has_oversize) return deliver_in_pieces<direction>(context, burst);
  if constexpr (direction == Direction::Outbound) return deliver_outbound(context, burst);
  if (burst.tcp_data_count >= kFewestToMerge) {
    const unsigned entered = burst.count;
    merge_segments(context, burst);
    clock.lap(Stage::Gro, entered);
  }
  deliver_inbound(context, burst);
}

// From where the frames' sessions are at this worker.
template <Direction direction>
void finish(Context& context, Burst& burst, StageClock& clock) {
  unsigned entered = burst.count;
  look_up<direction>(context, burst);
  clock.lap(Stage::LookUp, entered);
  entered = burst.count;
  translate<direction>(context, burst);
  clock.lap(Stage::Translate, entered);
  if (direction == Direction::Outbound && burst.has_fragments) renumber(burst);
  deliver<direction>(context, burst, clock);
  clock.lap(Stage::Deliver, entered);
}

template <Direction direction>
void route(Context& context, Burst& burst, StageClock& clock) {
  const unsigned entered = burst.count;
  steer<direction>(context, burst);
  clock.lap(Stage::Steer, entered);
  finish<direction>(context, burst, clock);
}

template <Direction direction>
void run(Context& context, Burst& burst) {
  StageClock clock(context.counters.stages);
  const unsigned entered = burst.count;
  parse<direction>(burst);
  clock.lap(Stage::Parse, entered);
  if constexpr (direction == Direction::Outbound)
    switch_inside(context, burst);
  else
    accept_uplink(context, burst);
  clock.lap(Stage::Switch, entered);
  if (burst.has_fragments) gather_fragments<direction>(context, burst);
  if (burst.has_fragments) collect_fragments<direction>(context, burst);
  route<direction>(context, burst, clock);
}

template <Direction direction>
void resume(Context& context, Burst& burst) {
  StageClock clock(context.counters.stages);
  parse<direction>(burst);
  clock.lap(Stage::Parse, burst.count);
  if (burst.has_fragments) recall_fragments<direction>(burst);
  finish<direction>(context, burst, clock);
}

template <Direction direction>
void resume_fragments(Context& context, Burst& burst) {
  StageClock clock(context.counters.stages);
  parse<direction>(burst);
  collect_fragments<direction>(context, burst);
  route<direction>(context, burst, clock);
}

}  // namespace

void run_outbound(Context& context, Burst& burst) {
  run<Direction::Outbound>(context, burst);
}
void run_inbound(Context& context, Burst& burst) {
  run<Direction::Inbound>(context, burst);
}
void route_outbound(Context& context, Burst& burst) {
  StageClock clock(context.counters.stages);
  route<Direction::Outbound>(context, burst, clock);
}
void route_inbound(Context& context, Burst& burst) {
  StageClock clock(context.counters.stages);
  route<Direction::Inbound>(context, burst, clock);
}
void resume(Context& context, Burst& burst, FrameNote::Errand errand) {
  switch (errand) {
    case FrameNote::Errand::Transmit:
      break;  // no step of the pipeline is left
    case FrameNote::Errand::Outbound:
      return resume<Direction::Outbound>(context, burst);
    case FrameNote::Errand::Inbound:
      return resume<Direction::Inbound>(context, burst);
    case FrameNote::Errand::OutboundFragment:
      return resume_fragments<Direction::Outbound>(context, burst);
    case FrameNote::Errand::InboundFragment:
      return resume_fragments<Direction::Inbound>(context, burst);
    case FrameNote::Errand::Unreachable:
      for (unsigned i = 0; i < burst.count; ++i) refuse_unreachable(context, burst.frames[i], burst.port);
  }
}

}  // namespace vmnat::dataplane
