// SPDX-License-Identifier: Apache-2.0
#include "dataplane/observe/watch.h"

#include <algorithm>
#include <rte_cycles.h>

namespace vmnat::dataplane {
namespace {

// nullptr: the observer does not want the frame, or its ring is full.
Record* write(const Observation& observation, RecordRing& ring, const rte_mbuf* frame, PortIndex port,
              std::uint64_t tsc) {
  const FrameView view(frame);
  if (!observation.filter.takes(view)) return nullptr;
  const std::uint32_t kept = std::min(view.length(), observation.snap);
  Record* record = ring.add(kept, port);
  if (record == nullptr) return nullptr;
  record->tsc = tsc;
  record->length = view.length();
  view.copy(kept, record->bytes());
  return record;
}

}  // namespace

void Watch::see_received(PortIndex port, rte_mbuf* const* frames, unsigned count) {
  const std::uint64_t tsc = rte_rdtsc();
  for (Eye& eye : eyes_) {
    if (!eye.observation->is_about(port)) continue;
    for (unsigned i = 0; i < count; ++i)
      if (Record* record = write(*eye.observation, *eye.ring, frames[i], port, tsc))
        record->sight = Sight::Received;
    eye.ring->publish();
  }
  if (tracer_ == nullptr || !tracer_->observation->is_about(port)) return;
  choose(frames, count, Sight::Received, port, tsc);
  tracer_->ring->publish();
}

// The device may free the frames: they are copied before, and passed over if they have not left.
void Watch::see_leaving(PortIndex port, rte_mbuf* const* frames, unsigned count) {
  const std::uint64_t tsc = rte_rdtsc();
  for (Eye& eye : eyes_) {
    eye.leaving.fill(nullptr);
    if (!eye.observation->is_about(port)) continue;
    for (unsigned i = 0; i < count; ++i)
      eye.leaving[i] = write(*eye.observation, *eye.ring, frames[i], port, tsc);
  }
  if (tracer_ != nullptr) trace_leaving(port, frames, count, tsc);
}

void Watch::see_left(Transmission result) {
  for (Eye& eye : eyes_) settle(eye, result);
  if (tracer_ != nullptr) settle(*tracer_, result);
}

void Watch::settle(Eye& eye, Transmission result) {
  for (unsigned i = 0; i < eye.leaving.size(); ++i)
    if (eye.leaving[i] != nullptr && result.sent.has(i)) eye.leaving[i]->sight = Sight::Transmitted;
  eye.ring->publish();
}

void Watch::see_dropped(const rte_mbuf* frame, PortIndex from, DropReason reason, PortIndex towards) {
  const std::uint64_t tsc = rte_rdtsc();
  for (Eye& eye : eyes_) {
    if (!eye.observation->is_about_drop(from, towards)) continue;
    if (Record* record = write(*eye.observation, *eye.ring, frame, from, tsc)) {
      record->sight = Sight::Dropped;
      record->reason = reason;
      record->towards = towards;
    }
    eye.ring->publish();
  }
  if (tracer_ != nullptr) trace_dropped(frame, from, reason, towards, tsc);
}

void see_dropped(Watch& watch, const rte_mbuf* frame, PortIndex from, DropReason reason, PortIndex towards) {
  watch.see_dropped(frame, from, reason, towards);
}

}  // namespace vmnat::dataplane
