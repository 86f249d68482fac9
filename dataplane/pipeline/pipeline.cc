// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/pipeline.h"

#include "dataplane/observe/watch.h"
#include "dataplane/pipeline/deliver.h"
#include "dataplane/pipeline/fragments.h"
#include "dataplane/pipeline/gro.h"
#include "dataplane/pipeline/host.h"
#include "dataplane/pipeline/look_up.h"
#include "dataplane/pipeline/oversize.h"
#include "dataplane/pipeline/parse.h"
#include "dataplane/pipeline/peers.h"
#include "dataplane/pipeline/steer.h"
#include "dataplane/pipeline/switch.h"
#include "dataplane/pipeline/translate.h"
#include "dataplane/pipeline/unreachable.h"

namespace vmnat::dataplane {
namespace {

using Errand = FrameNote::Errand;

constexpr Direction direction_of(Errand errand) {
  return errand == Errand::RouteOutbound || errand == Errand::ReleasedOutbound || errand == Errand::Outbound
             ? Direction::Outbound
             : Direction::Inbound;
}

// The first step after parse.
enum class Entry : std::uint8_t { Switch, Keys, KeptKeys, LookUp, ToHost, ToPeer, Unreachable };

// Tells the stage clock of each step that has ended, for the frames that entered it.
class Laps {
 public:
  Laps(Context& context, const Burst& burst)
      : clock_(context.counters.stages), burst_(burst), entered_(burst.count) {}
  void end(Stage stage) {
    clock_.lap(stage, entered_);
    entered_ = burst_.count;
  }

 private:
  StageClock clock_;
  const Burst& burst_;
  unsigned entered_;
};

// The same for a worker whose frames are traced: what each step passes on, and what leaves the burst in it.
class WatchedLaps {
 public:
  WatchedLaps(Context& context, const Burst& burst)
      : laps_(context, burst),
        watch_(*context.counters.watch),
        burst_(burst),
        count_(watch_.marked_in(burst_, marked_)) {}
  void end(Stage stage) {
    laps_.end(stage);
    if (stage == Stage::Deliver) return;  // its frames are the transmitter's, or another worker's, by now
    const auto step = static_cast<std::uint8_t>(stage);
    watch_.see_step(step, burst_, stage == Stage::LookUp || stage == Stage::Translate);
    watch_.see_left_in(step, marked_, count_, burst_);
    count_ = watch_.marked_in(burst_, marked_);
  }

 private:
  Laps laps_;
  Watch& watch_;
  const Burst& burst_;
  Watch::MarkedFrames marked_{};
  unsigned count_;
};

template <Direction direction>
void switch_burst(Context& context, Burst& burst) {
  direction == Direction::Outbound ? switch_inside(context, burst) : accept_uplink(context, burst);
}

template <Direction direction, typename Laps>
void deliver(Context& context, Burst& burst, Laps& laps) {
  if (burst.has_oversize) return deliver_in_pieces<direction>(context, burst);
  if (burst.tcp_data_count >= kFewestToMerge) {
    merge_segments<direction>(context, burst);
    laps.end(Stage::Gro);
  }
  direction == Direction::Outbound ? deliver_outbound(context, burst) : deliver_inbound(context, burst);
}

// The whole way of a burst, from its entry on.
template <Direction direction, Entry entry, typename Laps>
void take_steps(Context& context, Burst& burst) {
  Laps laps(context, burst);
  parse<direction>(burst);
  laps.end(Stage::Parse);
  if constexpr (entry == Entry::ToHost) return end_at_host(context, burst);
  if constexpr (entry == Entry::ToPeer) return end_at_peer(context, burst);
  if constexpr (entry == Entry::Unreachable) return end_unreachable<direction>(context, burst);
  if constexpr (entry == Entry::Switch) {
    switch_burst<direction>(context, burst);
    if (burst.has_fragments) send_to_gatherer<direction>(context, burst);
    laps.end(Stage::Switch);
  }
  if (burst.has_fragments) {
    entry <= Entry::Keys ? assign_keys<direction>(context, burst) : restore_keys<direction>(burst);
    laps.end(Stage::Fragments);
  }
  if constexpr (entry != Entry::LookUp) {
    steer<direction>(context, burst);
    laps.end(Stage::Steer);
  }
  look_up<direction>(context, burst);
  laps.end(Stage::LookUp);
  translate<direction>(context, burst);
  laps.end(Stage::Translate);
  if (direction == Direction::Outbound && burst.has_fragments) renumber(burst);
  deliver<direction>(context, burst, laps);
  laps.end(Stage::Deliver);
}

template <Direction direction, Entry entry>
[[gnu::cold]] [[gnu::noinline]] void take_watched_steps(Context& context, Burst& burst) {
  if (context.counters.watch->traces()) return take_steps<direction, entry, WatchedLaps>(context, burst);
  take_steps<direction, entry, Laps>(context, burst);
}

template <Direction direction, Entry entry>
void run(Context& context, Burst& burst) {
  if (context.counters.watch != nullptr) return take_watched_steps<direction, entry>(context, burst);
  take_steps<direction, entry, Laps>(context, burst);
}

template <Entry entry>
void run(Context& context, Burst& burst, Direction direction) {
  direction == Direction::Outbound ? run<Direction::Outbound, entry>(context, burst)
                                   : run<Direction::Inbound, entry>(context, burst);
}

void carry_out(Context& context, Burst& burst, Errand errand) {
  switch (errand) {
    case Errand::Transmit:
      return;  // no step is left
    case Errand::RouteOutbound:
    case Errand::RouteInbound:
      return run<Entry::Keys>(context, burst, direction_of(errand));
    case Errand::ReleasedOutbound:
    case Errand::ReleasedInbound:
      return run<Entry::KeptKeys>(context, burst, direction_of(errand));
    case Errand::Outbound:
    case Errand::Inbound:
      return run<Entry::LookUp>(context, burst, direction_of(errand));
    case Errand::ToHost:
      return run<Entry::ToHost>(context, burst, Direction::Outbound);
    case Errand::ToPeer:
      return run<Entry::ToPeer>(context, burst, Direction::Outbound);
    case Errand::Unreachable:
      return run<Entry::Unreachable>(
          context, burst,
          context.state->is_uplink(burst.ports[0]) ? Direction::Inbound : Direction::Outbound);
  }
}

// Whether frames with these notes may be in one burst.
bool go_together(const ForwardingState& state, const FrameNote& one, const FrameNote& other) {
  if (one.errand != other.errand) return false;
  return one.errand != Errand::Unreachable || state.is_uplink(one.port) == state.is_uplink(other.port);
}

// Runs of one errand make a burst.
void carry_out(Context& context, Burst& burst, rte_mbuf* const* frames, unsigned count) {
  FrameNote before;
  burst.count = 0;
  if (context.counters.watch != nullptr && context.counters.watch->traces())
    context.counters.watch->see_errands(frames, count);
  for (unsigned i = 0; i < count; ++i) {
    const FrameNote note = note_of(frames[i]);
    if (note.errand == Errand::Transmit) {
      context.transmitter.send(*context.state, frames[i], note.from, note.port);
      continue;
    }
    if (burst.count != 0 && !go_together(*context.state, note, before)) {
      carry_out(context, burst, before.errand);
      burst.count = 0;
    }
    before = note;
    burst.ports[burst.count] = note.port;
    burst.frames[burst.count++] = frames[i];
  }
  if (burst.count != 0) carry_out(context, burst, before.errand);
}

// What a burst has queued goes on. What has turned round comes first: it queues nothing more.
[[gnu::cold]] void carry_out_queued(Context& context, Burst& burst) {
  rte_mbuf* frames[kBurstSize];
  for (;;) {
    unsigned count = context.errands.pop(frames, kBurstSize);
    if (count == 0) count = context.fragments.take_released(frames, kBurstSize);
    if (count == 0) return;
    carry_out(context, burst, frames, count);
  }
}

void end_burst(Context& context, Burst& burst) {
  if (!context.errands.is_empty() || context.fragments.has_released()) carry_out_queued(context, burst);
  burst.count = 0;
}

}  // namespace

void run_outbound(Context& context, Burst& burst) {
  run<Direction::Outbound, Entry::Switch>(context, burst);
  end_burst(context, burst);
}
void run_inbound(Context& context, Burst& burst) {
  run<Direction::Inbound, Entry::Switch>(context, burst);
  end_burst(context, burst);
}
void run_errands(Context& context, Burst& burst, rte_mbuf* const* frames, unsigned count) {
  carry_out(context, burst, frames, count);
  end_burst(context, burst);
}

}  // namespace vmnat::dataplane
