// SPDX-License-Identifier: Apache-2.0
// What one who traces sees.
#include <algorithm>
#include <cstring>
#include <rte_cycles.h>
#include <rte_mbuf_dyn.h>

#include "dataplane/observe/watch.h"

namespace vmnat::dataplane {
namespace {

StepNote note_of_step(const Burst& burst, unsigned i, bool has_sessions) {
  StepNote note{.kind = burst.packets[i].kind, .fault = burst.packets[i].fault};
  if (!has_sessions || burst.sessions[i] == nullptr) return note;
  const Session& session = *burst.sessions[i];
  note.has_session = true;
  note.is_new = session.packets(Direction::Outbound) == 0 && session.packets(Direction::Inbound) == 0;
  note.protocol = session.protocol();
  note.internal = session.internal();
  note.external = session.external();
  note.remote = session.remote();
  return note;
}

}  // namespace

std::uint32_t TraceMark::of(const rte_mbuf* frame) const {
  if ((frame->ol_flags & flag) == 0) return 0;
  return *RTE_MBUF_DYNFIELD(frame, field, const std::uint32_t*);
}

void TraceMark::set(rte_mbuf* frame, std::uint32_t number) const {
  frame->ol_flags |= flag;
  *RTE_MBUF_DYNFIELD(frame, field, std::uint32_t*) = number;
}

Record* Watch::begin(std::uint32_t bytes, std::uint32_t number, Sight sight, PortIndex port,
                     std::uint64_t tsc) {
  Record* record = tracer_->ring->add(bytes, port);
  if (record == nullptr) return nullptr;
  record->tsc = tsc;
  record->sight = sight;
  record->worker = worker_;
  record->number = number;
  return record;
}

Record* Watch::note(const rte_mbuf* frame, std::uint32_t number, Sight sight, PortIndex port,
                    std::uint64_t tsc) {
  const FrameView view(frame);
  const std::uint32_t kept = std::min(view.length(), tracer_->observation->snap);
  Record* record = begin(kept, number, sight, port, tsc);
  if (record == nullptr) return nullptr;
  record->length = view.length();
  view.copy(kept, record->bytes());
  return record;
}

void Watch::choose(rte_mbuf* const* frames, unsigned count, Sight sight, PortIndex port, std::uint64_t tsc) {
  std::atomic<std::uint32_t>& left = *tracer_->observation->to_trace;
  for (unsigned i = 0; i < count; ++i) {
    if (left.load(std::memory_order_relaxed) == 0) break;
    if (!tracer_->observation->filter.takes(FrameView(frames[i]))) continue;
    std::uint32_t before = left.load(std::memory_order_relaxed);
    while (before != 0 && !left.compare_exchange_weak(before, before - 1, std::memory_order_relaxed))
      continue;
    if (before == 0) break;
    const std::uint32_t number = tracer_->observation->first_number + before;
    mark_.set(frames[i], number);
    note(frames[i], number, sight, port, tsc);
  }
}

void Watch::trace_leaving(PortIndex port, rte_mbuf* const* frames, unsigned count, std::uint64_t tsc) {
  tracer_->leaving.fill(nullptr);
  for (unsigned i = 0; i < count; ++i)
    if (const std::uint32_t number = mark_.of(frames[i]); number != 0)
      tracer_->leaving[i] = note(frames[i], number, Sight::Nothing, port, tsc);
}

void Watch::trace_dropped(const rte_mbuf* frame, PortIndex from, DropReason reason, PortIndex towards,
                          std::uint64_t tsc) {
  const std::uint32_t number = mark_.of(frame);
  if (number == 0) return;
  if (Record* record = note(frame, number, Sight::Dropped, from, tsc)) {
    record->reason = reason;
    record->towards = towards;
  }
  tracer_->ring->publish();
}

void Watch::see_injected(rte_mbuf* const* frames, unsigned count) {
  const std::uint64_t tsc = rte_rdtsc();
  for (unsigned i = 0; i < count; ++i) {
    const PortIndex port = dataplane::note_of(frames[i]).port;
    if (tracer_->observation->is_about(port)) choose(frames + i, 1, Sight::Injected, port, tsc);
  }
  tracer_->ring->publish();
}

void Watch::see_errands(rte_mbuf* const* frames, unsigned count) {
  const std::uint64_t tsc = rte_rdtsc();
  for (unsigned i = 0; i < count; ++i)
    if (const std::uint32_t number = mark_.of(frames[i]); number != 0) {
      const FrameNote& errand = dataplane::note_of(frames[i]);
      if (Record* record = note(frames[i], number, Sight::Errand, errand.port, tsc))
        record->step = static_cast<std::uint8_t>(errand.errand);
    }
  tracer_->ring->publish();
}

void Watch::see_punted(const rte_mbuf* frame, PortIndex port, PuntReason reason) {
  const std::uint32_t number = mark_.of(frame);
  if (number == 0) return;
  if (Record* record = note(frame, number, Sight::Punted, port, rte_rdtsc()))
    record->step = static_cast<std::uint8_t>(reason);
  tracer_->ring->publish();
}

void Watch::see_rule(const rte_mbuf* frame, PortIndex port, std::string_view rule, std::uint8_t action) {
  const std::uint32_t number = mark_.of(frame);
  if (number == 0) return;
  const auto bytes = static_cast<std::uint32_t>(rule.size());
  if (Record* record = begin(bytes, number, Sight::Rule, port, rte_rdtsc())) {
    record->step = action;
    std::memcpy(record->bytes(), rule.data(), rule.size());
  }
  tracer_->ring->publish();
}

void Watch::see_step(std::uint8_t step, const Burst& burst, bool has_sessions) {
  const std::uint64_t tsc = rte_rdtsc();
  for (unsigned i = 0; i < burst.count; ++i) {
    const std::uint32_t number = mark_.of(burst.frames[i]);
    if (number == 0) continue;
    const FrameView view(burst.frames[i]);
    const StepNote said = note_of_step(burst, i, has_sessions);
    const std::uint32_t kept = std::min(view.length(), tracer_->observation->snap);
    Record* record =
        begin(static_cast<std::uint32_t>(sizeof said) + kept, number, Sight::Step, burst.ports[i], tsc);
    if (record == nullptr) continue;
    record->length = view.length();
    record->step = step;
    std::memcpy(record->bytes(), &said, sizeof said);
    view.copy(kept, static_cast<std::byte*>(record->bytes()) + sizeof said);
  }
  tracer_->ring->publish();
}

unsigned Watch::marked_in(const Burst& burst, MarkedFrames& marked) const {
  unsigned count = 0;
  for (unsigned i = 0; i < burst.count; ++i)
    if (const std::uint32_t number = mark_.of(burst.frames[i]); number != 0)
      marked[count++] = {number, burst.ports[i]};
  return count;
}

void Watch::see_left_in(std::uint8_t step, const MarkedFrames& before, unsigned count, const Burst& burst) {
  MarkedFrames now{};
  const std::span still{now.data(), marked_in(burst, now)};
  for (const MarkedFrame& frame : std::span{before.data(), count}) {
    if (std::ranges::find(still, frame.number, &MarkedFrame::number) != still.end()) continue;
    if (Record* record = begin(0, frame.number, Sight::Left, frame.port, rte_rdtsc())) record->step = step;
  }
  tracer_->ring->publish();
}

}  // namespace vmnat::dataplane
