// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/transmit.h"

#include <algorithm>
#include <utility>

#include "dataplane/frame/packet.h"
#include "dataplane/observe/watch.h"

namespace vmnat::dataplane {
namespace {

constexpr unsigned kMostTags = 2;  // VLAN tags that the MTU does not count

// Bytes before the network header.
std::uint32_t link_length(const rte_mbuf* frame) {
  std::uint32_t length = sizeof(net::EthernetHeader);
  for (unsigned tags = 0; tags < kMostTags; ++tags, length += 4) {
    net::Be16 copy;
    const auto* type =
        static_cast<const net::Be16*>(rte_pktmbuf_read(frame, length - sizeof copy, sizeof copy, &copy));
    if (type == nullptr || !net::is_vlan_tag(static_cast<net::EtherType>(type->host()))) break;
  }
  return length;
}

bool fits(const rte_mbuf* frame, std::uint16_t mtu) {
  if (is_super_frame(frame)) return has_segments_up_to(frame, mtu);
  return frame->pkt_len <= link_length(frame) + mtu;
}

// Into one buffer. False: there is none, or the frame has no room in it.
bool join_buffers(rte_mbuf*& frame) {
  if (rte_pktmbuf_linearize(frame) == 0) return true;
  rte_mbuf* const copy = rte_pktmbuf_copy(frame, frame->pool, 0, UINT32_MAX);
  if (copy == nullptr) return false;
  if (copy->nb_segs > 1) {
    rte_pktmbuf_free(copy);
    return false;
  }
  rte_pktmbuf_free(std::exchange(frame, copy));
  return true;
}

}  // namespace

// Why the device has not taken frame i.
DropReason Transmitter::refusal_of(const BurstPort& device, const Transmission& result, unsigned i) {
  if (result.found_full(i) || result.lost.has(i)) return DropReason::TxFull;
  if (result.refused.has(i)) return DropReason::Offload;
  return device.vhost != nullptr ? DropReason::GuestBuffers : DropReason::TooBig;
}

void Transmitter::flush(const ForwardingState& state) {
  for (unsigned i = 0; i < dirty_count_; ++i) {
    const PortIndex port = dirty_[i];
    flush_port(port, state.ports[port]);
    buffers_[port].is_listed = false;
  }
  dirty_count_ = 0;
  if (has_backlog_) release_backlogs(state);
  if (holding_count_ != 0) release_held(state);
  if (has_handed_over_) wake_others();
}

void Transmitter::flush_port(PortIndex to, const Port& port) {
  if (port.is_limited) return hold_back(to, port);
  transmit_buffered(to, port);
}

void Transmitter::transmit_buffered(PortIndex to, const Port& port) {
  Buffer& buffer = buffers_[to];
  if (buffer.count == 0) return;
  StageClock clock(counters_.stages);
  if (port.device.vlan != kNoVlan && port.up) add_tags(to, port.device.vlan, buffer);
  if (std::exchange(buffer.has_offload, false) && port.up)
    drop_unprepared(to, port.device, port.transmit_queue_of(worker_), buffer);
  const unsigned count = buffer.count;
  if (buffer.is_backlogged) {
    line_up(to, buffer);
  } else {
    const Transmission result = hand_to_device(to, port, buffer);
    if (result.sent != FrameSet::first(count)) settle_untaken(to, port, buffer, result);
  }
  clock.lap(Stage::Transmit, count);
  buffer.count = 0;
}

// What it has taken is counted; the rest is still ours.
Transmission Transmitter::hand_to_device(PortIndex to, const Port& port, Buffer& buffer) {
  if (!port.up) return {};
  const std::uint16_t queue = port.transmit_queue_of(worker_);
  std::uint64_t bytes = 0;  // taken before the device owns the frames
  for (unsigned i = 0; i < buffer.count; ++i) bytes += buffer.frames[i]->pkt_len;
  const Transmission result = counters_.watch == nullptr
                                  ? port.device.transmit(queue, buffer.frames, buffer.count)
                                  : transmit_watched(to, port, queue, buffer);
  for (const unsigned i : result.unsent(buffer.count)) bytes -= buffer.frames[i]->pkt_len;
  counters_.ports[to].tx_packets.add(result.sent.size());
  counters_.ports[to].tx_bytes.add(bytes);
  return result;
}

void Transmitter::settle_untaken(PortIndex to, const Port& port, Buffer& buffer, const Transmission& result) {
  const bool may_wait = to < backlogs_.size() && port.up;
  for (const unsigned i : result.unsent(buffer.count)) {
    if (may_wait && result.found_full(i))
      keep(to, buffer, i);
    else
      refuse(buffer.frames[i], buffer.from[i], to,
             port.up ? refusal_of(port.device, result, i) : DropReason::PortDown);
  }
}

void Transmitter::refuse(rte_mbuf* frame, PortIndex from, PortIndex to, DropReason reason) {
  counters_.ports[to].tx_refused.add(1);
  drop(frame, from, to, reason);
}

// Last, so that all before see the frames as VMs and the network do.
void Transmitter::add_tags(PortIndex to, std::uint16_t vlan, Buffer& buffer) {
  std::uint16_t kept = 0;
  for (unsigned i = 0; i < buffer.count; ++i) {
    if (!add_tag(buffer.frames[i], vlan)) {
      drop(buffer.frames[i], buffer.from[i], to, DropReason::NoBuffer);
      continue;
    }
    buffer.frames[kept] = buffer.frames[i];
    buffer.from[kept++] = buffer.from[i];
  }
  buffer.count = kept;
}

Transmission Transmitter::transmit_watched(PortIndex to, const Port& port, std::uint16_t queue,
                                           Buffer& buffer) {
  counters_.watch->see_leaving(to, buffer.frames, buffer.count);
  const Transmission result = port.device.transmit(queue, buffer.frames, buffer.count);
  counters_.watch->see_left(result);
  return result;
}

// What the device's own limits do not let through: its driver says so before the device stops over it.
void Transmitter::drop_unprepared(PortIndex to, const BurstPort& device, std::uint16_t queue,
                                  Buffer& buffer) {
  unsigned ready = 0;
  for (;;) {
    ready += device.prepare(queue, buffer.frames + ready, static_cast<std::uint16_t>(buffer.count - ready));
    if (ready == buffer.count) return;
    drop(buffer.frames[ready], buffer.from[ready], to, DropReason::Offload);
    std::copy(buffer.frames + ready + 1, buffer.frames + buffer.count, buffer.frames + ready);
    std::copy(buffer.from + ready + 1, buffer.from + buffer.count, buffer.from + ready);
    --buffer.count;
  }
}

void Transmitter::send_unusual(const Port& port, rte_mbuf* frame, PortIndex from, PortIndex to) {
  if (!fits(frame, port.mtu)) return drop(frame, from, to, DropReason::TooBig);
  if (is_unfinished(frame)) return send_unfinished(port, frame, from, to);
  if (frame->nb_segs > port.offloads.most_buffers && !join_buffers(frame))
    return drop(frame, from, to, DropReason::NoBuffer);
  put(port, frame, from, to);
}

void Transmitter::send_unfinished(const Port& port, rte_mbuf* frame, PortIndex from, PortIndex to) {
  if (prepare_to_leave(frame, port.offloads) == Remaining::Segments)
    return send_in_segments(port, frame, from, to);
  if (frame->nb_segs > port.offloads.most_buffers && !join_buffers(frame))
    return drop(frame, from, to, DropReason::NoBuffer);
  put(port, frame, from, to);
  buffers_[to].has_offload = true;
}

// The frame counts for one of its segments, the others are made.
void Transmitter::send_in_segments(const Port& port, rte_mbuf* frame, PortIndex from, PortIndex to) {
  Segmenter segments(frame);
  unsigned made = 0;
  for (; segments.has_next(); ++made) {
    rte_mbuf* segment = segments.next();
    if (segment == nullptr) {
      counters_.count_made(&WorkerCounters::segments_made, from, made);
      return drop(frame, from, to, DropReason::NoBuffer);
    }
    put(port, segment, from, to);
  }
  counters_.count_made(&WorkerCounters::segments_made, from, made - 1);
  rte_pktmbuf_free(frame);
}

void Transmitter::send_by(WorkerIndex other, rte_mbuf* frame, PortIndex from, PortIndex to) {
  note_of(frame) = {.port = to, .from = from, .errand = FrameNote::Errand::Transmit};
  hand_over(frame, from, other);
}

void Transmitter::hand_over(rte_mbuf* frame, PortIndex from, WorkerIndex to) {
  if (!rings_.handoff_to[to].push(frame)) return drop(frame, from, kNoPort, DropReason::HandoffFull);
  counters_.handoff_frames.add(1);
  has_handed_over_ = was_handed_over_[to] = true;
}

// Once a poll, and only who was handed something: who sleeps is to sleep on.
void Transmitter::wake_others() {
  for (std::size_t worker = 0; worker < rings_.doorbells.size(); ++worker)
    if (std::exchange(was_handed_over_[worker], false)) rings_.doorbells[worker].ring();
  has_handed_over_ = false;
}

}  // namespace vmnat::dataplane
