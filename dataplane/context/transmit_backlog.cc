// SPDX-License-Identifier: Apache-2.0
// The transmitter's part for uplinks whose device is full: frames wait in a backlog, and leave as the device takes them.
// They have their tags, and are prepared, before they wait.
#include <utility>

#include "dataplane/context/transmit.h"

namespace vmnat::dataplane {

// All that is buffered, behind what waits already.
void Transmitter::line_up(PortIndex to, const Buffer& buffer) {
  for (unsigned i = 0; i < buffer.count; ++i) keep(to, buffer, i);
}

void Transmitter::keep(PortIndex to, const Buffer& buffer, unsigned i) {
  rte_mbuf* const frame = buffer.frames[i];
  const HeldFrames& queue = backlogs_[to].of(buffer.from[i]);
  const bool fits = queue.is_empty() || queue.bytes() + frame->pkt_len <= Backlog::kMostBytes;
  // No more buffers than are left for all: of n that flood each gets one part of n + 1, and who comes then finds some.
  const bool is_bufferless = queue.buffers() + frame->nb_segs + held_buffers_ > most_held_buffers(frame);
  if (!fits || is_bufferless || queue.count() == HeldFrames::kMost)
    return refuse(buffer.frames[i], buffer.from[i], to, DropReason::TxFull);
  if (backlogs_[to].is_empty()) backlogs_[to].moved_at = tsc_;
  held_buffers_ += frame->nb_segs;
  counters_.limits_held.add(1);
  counters_.backlogged.add(1);
  backlogs_[to].add(frame, buffer.from[i]);
  has_backlog_ = buffers_[to].is_backlogged = true;
}

void Transmitter::release_backlogs(const ForwardingState& state) {
  has_backlog_ = backlog_moves_ = false;
  const auto uplinks = static_cast<PortIndex>(backlogs_.size());
  for (PortIndex to = 0; to < uplinks; ++to) {
    if (backlogs_[to].is_empty()) continue;
    const bool moves = release_backlog(to, state.ports[to]);
    const bool is_left = buffers_[to].is_backlogged = !backlogs_[to].is_empty();
    has_backlog_ |= is_left;
    backlog_moves_ |= is_left && moves;
  }
}

// As much as the device takes. True: that is something. Nothing of the port's is buffered now. Of a device that takes
// nothing any more nobody wants, in the end, what waited for it.
bool Transmitter::release_backlog(PortIndex to, const Port& port) {
  Backlog& backlog = backlogs_[to];
  if (!port.up || port.transmitter_for(worker_) != worker_)
    return drop_backlog(to, DropReason::PortDown), false;
  Buffer& buffer = buffers_[to];
  const unsigned most = counters_.watch == nullptr ? kBufferSize : 1;  // a try that fails costs a record
  bool has_sent = false;
  for (bool is_full = false; !is_full && !backlog.is_empty();) {
    const PortIndex from = backlog.whose_turn();
    for (; buffer.count < most && backlog.goes_on(from); ++buffer.count) {
      buffer.frames[buffer.count] = take_waiting(backlog, from);
      buffer.from[buffer.count] = from;
    }
    const Transmission result = hand_to_device(to, port, buffer);
    has_sent |= !result.sent.is_empty();
    is_full = put_back(to, port, buffer, result);
  }
  if (has_sent)
    backlog.moved_at = tsc_;
  else if (tsc_ - backlog.moved_at > backlog_patience_)
    drop_backlog(to, DropReason::TxFull);
  return has_sent;
}

// What found no room, the last one first. True: there was some.
bool Transmitter::put_back(PortIndex to, const Port& port, Buffer& buffer, const Transmission& result) {
  bool is_full = false;
  const FrameSet unsent = result.unsent(buffer.count);
  for (unsigned i = std::exchange(buffer.count, std::uint16_t{0}); i-- > 0;) {
    if (!unsent.has(i)) continue;
    if (!result.found_full(i)) {
      refuse(buffer.frames[i], buffer.from[i], to, refusal_of(port.device, result, i));
      continue;
    }
    is_full = true;
    held_buffers_ += buffer.frames[i]->nb_segs;
    counters_.limits_held.add(1);
    backlogs_[to].put_back(buffer.frames[i], buffer.from[i]);
  }
  return is_full;
}

void Transmitter::drop_backlog(PortIndex to, DropReason reason) {
  for (Backlog& backlog = backlogs_[to]; !backlog.is_empty();) {
    const PortIndex from = backlog.whose_turn();
    refuse(take_waiting(backlog, from), from, to, reason);
  }
}

rte_mbuf* Transmitter::take_waiting(Backlog& backlog, PortIndex from) {
  rte_mbuf* const frame = backlog.take(from);
  held_buffers_ -= frame->nb_segs;
  counters_.limits_held.subtract(1);
  return frame;
}

}  // namespace vmnat::dataplane
