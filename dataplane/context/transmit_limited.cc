// SPDX-License-Identifier: Apache-2.0
// The transmitter's part for ports with limits: frames go through a queue of the port, and leave as its limits let them.
#include <algorithm>
#include <limits>
#include <utility>

#include "dataplane/context/transmit.h"
#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {

using Sharing = FairTurns::Sharing;

// What may leave by a port in this turn; charged at the end of it.
class Transmitter::Allowance {
 public:
  Allowance(const PortLimits& port, PortIndex index, FairTurns& turns, std::uint64_t tsc)
      : port_(port),
        index_(index),
        turns_(turns),
        tsc_(tsc),
        own_(port.in.own, tsc),
        network_(port.in.network, tsc),
        uplink_(port.in.uplink, tsc) {}
  Allowance(const Allowance&) = delete;
  Allowance& operator=(const Allowance&) = delete;
  ~Allowance() {
    own_.charge(tsc_);
    network_.charge(tsc_);
    uplink_.charge(tsc_);
  }

  // Takes the frame's size if it may leave.
  bool take(const rte_mbuf* frame, bool is_from_uplink) {
    const bool has_network = network_.limit != nullptr;
    const bool has_uplink = is_from_uplink && uplink_.limit != nullptr;
    if (own_.limit != nullptr && !own_.left.is_any()) return false;
    if (has_network && !has_turn(network_, Sharing::Network)) return false;
    if (has_uplink && !has_turn(uplink_, Sharing::Uplink)) return false;
    const WireSize size = wire_size(frame);
    if (own_.limit != nullptr) own_.take(size);
    if (has_network) take_turn(network_, Sharing::Network, size);
    if (has_uplink) take_turn(uplink_, Sharing::Uplink, size);
    return true;
  }

 private:
  struct Part {
    Limit* limit;
    Limit::Left left{};
    WireSize taken{};

    Part(Limit* of, std::uint64_t tsc) : limit(of) {
      if (limit != nullptr) left = limit->left(tsc);
    }
    void take(const WireSize& size) {
      left.bytes -= static_cast<std::int64_t>(size.bytes);
      left.frames -= size.frames;
      taken += size;
    }
    void charge(std::uint64_t tsc) const {
      if (taken.frames != 0) limit->charge(tsc, taken);
    }
  };

  bool has_turn(const Part& part, Sharing sharing) {
    if (!part.left.is_any()) {
      turns_.note_used_up(port_, sharing);
      return false;
    }
    return turns_.share_left(port_, index_, sharing, *part.limit) > 0;
  }
  void take_turn(Part& part, Sharing sharing, const WireSize& size) {
    part.take(size);
    turns_.take(index_, sharing, size.bytes);
  }

  const PortLimits& port_;
  PortIndex index_;
  FairTurns& turns_;
  std::uint64_t tsc_;
  Part own_, network_, uplink_;
};

// All that is buffered for the port.
void Transmitter::hold_back(PortIndex to, const Port& port) {
  Buffer& buffer = buffers_[to];
  const unsigned count = std::exchange(buffer.count, std::uint16_t{0});
  buffer.has_offload = false;
  for (unsigned i = 0; i < count; ++i) hold(buffer.frames[i], buffer.from[i], to, port);
}

void Transmitter::hold(rte_mbuf* frame, PortIndex from, PortIndex to, const Port& port) {
  HeldFrames& held = held_[to];
  const bool is_gateways = from == to;  // it answers who is there, or control has something for him
  if (is_gateways ? held.count() == HeldFrames::kMost : !has_room(held, frame, to)) {
    counters_.ports[to].limited_dropped.add(1);
    return drop(frame, from, to, DropReason::RateLimit);
  }
  note_of(frame) = {.port = to, .from = from, .errand = FrameNote::Errand::Transmit};
  if (!held.is_listed) {
    held.is_listed = true;
    held.offloads = port.offloads;
    holding_[holding_count_++] = to;
  }
  held_buffers_ += frame->nb_segs;
  counters_.limits_held.add(1);
  is_gateways ? held.push_front(frame) : held.push_back(frame);
}

bool Transmitter::has_room(const HeldFrames& held, const rte_mbuf* frame, PortIndex to) const {
  if (held.count() >= HeldFrames::kMost - HeldFrames::kForGateway) return false;
  if (!held.is_empty() && held.bytes() + frame->pkt_len > limits_->ports[to].in.queue()) return false;
  const std::uint32_t all = most_held_buffers(frame);
  const std::uint32_t reserved = all / 2 / static_cast<std::uint32_t>(limits_->ports.size());
  if (held_buffers_ + frame->nb_segs <= all / 2) return true;
  return held_buffers_ + frame->nb_segs <= all && held.buffers() + frame->nb_segs <= reserved;
}

// Of all that waits at this worker.
std::uint32_t Transmitter::most_held_buffers(const rte_mbuf* frame) const {
  const auto workers = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(rings_.handoff_to.size()));
  return frame->pool->size / 4 / workers;
}

// In turns, until no limit lets anything more go.
void Transmitter::release_held(const ForwardingState& state) {
  for (bool goes_on = true; goes_on;) {
    goes_on = false;
    for (unsigned i = 0; i < holding_count_; ++i) goes_on |= release(state, holding_[i]);
    goes_on |= turns_.end_turn();
  }
  unsigned left = 0;
  stays_awake_ = false;
  for (unsigned i = 0; i < holding_count_; ++i) {
    HeldFrames& held = held_[holding_[i]];
    counters_.ports[holding_[i]].limited_in.add(held.take_new_waiters());
    held.is_listed = !held.is_empty();
    if (!held.is_listed) continue;
    stays_awake_ |= !limits_->ports[holding_[i]].in.is_patient();
    holding_[left++] = holding_[i];
  }
  holding_count_ = left;
}

// What its limits let go. True: something has left.
bool Transmitter::release(const ForwardingState& state, PortIndex to) {
  const Port& port = state.ports[to];
  HeldFrames& held = held_[to];
  if (held.is_empty()) return false;
  const bool is_as_it_was = port.up && port.is_limited && port.transmitter_for(worker_) == worker_ &&
                            held.offloads == port.offloads;
  if (!is_as_it_was) return end_holding(to, port);
  Allowance allowance(limits_->ports[to], to, turns_, tsc_);
  bool has_released = false;
  while (!held.is_empty() && allowance.take(held.first(), state.is_uplink(note_of(held.first()).from))) {
    transmit_held(take_held(held), to, port);
    has_released = true;
  }
  transmit_buffered(to, port);
  return has_released;
}

// The port has no limit any more: all go. Or nobody is there, or another one, or its queue is another worker's.
bool Transmitter::end_holding(PortIndex to, const Port& port) {
  HeldFrames& held = held_[to];
  const WorkerIndex owner = port.transmitter_for(worker_);
  while (!held.is_empty()) {
    rte_mbuf* const frame = take_held(held);
    const PortIndex from = note_of(frame).from;
    if (!port.up || held.offloads != port.offloads) {
      drop(frame, from, to, DropReason::PortDown);
    } else if (owner != worker_) {
      send_by(owner, frame, from, to);
    } else {
      transmit_held(frame, to, port);
    }
  }
  transmit_buffered(to, port);
  return true;
}

// With what else is buffered: a full burst at once, the rest by transmit_buffered().
void Transmitter::transmit_held(rte_mbuf* frame, PortIndex to, const Port& port) {
  Buffer& buffer = buffers_[to];
  buffer.from[buffer.count] = note_of(frame).from;
  buffer.frames[buffer.count++] = frame;
  buffer.has_offload = true;  // perhaps
  if (buffer.count == kBufferSize) transmit_buffered(to, port);
}

rte_mbuf* Transmitter::take_held(HeldFrames& held) {
  rte_mbuf* const frame = held.pop();
  held_buffers_ -= frame->nb_segs;
  counters_.limits_held.subtract(1);
  return frame;
}

void Transmitter::free_held() {
  for (unsigned i = 0; i < holding_count_; ++i)
    for (HeldFrames& held = held_[holding_[i]]; !held.is_empty();) rte_pktmbuf_free(take_held(held));
  for (Backlog& backlog : backlogs_)
    while (!backlog.is_empty()) rte_pktmbuf_free(take_waiting(backlog, backlog.whose_turn()));
}

}  // namespace vmnat::dataplane
