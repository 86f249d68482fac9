// SPDX-License-Identifier: Apache-2.0
#include "dataplane/transmit.h"

#include "dataplane/packet.h"

namespace vmnat::dataplane {

void Transmitter::flush(const ForwardingState& state) {
  for (unsigned i = 0; i < dirty_count_; ++i) {
    const PortIndex port = dirty_[i];
    flush_port(port, state.ports[port]);
    buffers_[port].is_listed = false;
  }
  dirty_count_ = 0;
}

void Transmitter::flush_port(PortIndex to, const Port& port) {
  Buffer& buffer = buffers_[to];
  if (buffer.count == 0) return;
  StageClock clock(counters_.stages);
  std::uint64_t bytes = 0;  // taken before the device owns the frames
  for (unsigned i = 0; i < buffer.count; ++i) bytes += buffer.frames[i]->pkt_len;
  const std::uint16_t queue = port.tx_queues <= 1 ? 0 : worker_;
  const unsigned sent = port.up ? buffer.device.transmit(queue, buffer.frames, buffer.count) : 0;
  for (unsigned i = sent; i < buffer.count; ++i) {
    bytes -= buffer.frames[i]->pkt_len;
    drop(buffer.frames[i], buffer.from[i], port.up ? DropReason::TxFull : DropReason::PortDown);
  }
  counters_.ports[to].tx_packets.add(sent);
  counters_.ports[to].tx_bytes.add(bytes);
  clock.lap(Stage::Transmit, buffer.count);
  buffer.count = 0;
}

void Transmitter::send_unfinished(const Port& port, rte_mbuf* frame, PortIndex from, PortIndex to) {
  switch (prepare_to_leave(frame, port.offloads)) {
    case Remaining::Nothing:
      return put(port, frame, from, to);
    case Remaining::Segments:
      return send_in_segments(port, frame, from, to);
    case Remaining::Malformed:
      return drop(frame, from, DropReason::Offload);
  }
}

// The frame counts for one of its segments, the others are made.
void Transmitter::send_in_segments(const Port& port, rte_mbuf* frame, PortIndex from, PortIndex to) {
  Segmenter segments(frame);
  unsigned made = 0;
  for (; segments.has_next(); ++made) {
    rte_mbuf* segment = segments.next();
    if (segment == nullptr) {
      counters_.segments_made.add(made);
      return drop(frame, from, DropReason::NoBuffer);
    }
    put(port, segment, from, to);
  }
  counters_.segments_made.add(made - 1);
  rte_pktmbuf_free(frame);
}

void Transmitter::hand_off(rte_mbuf* frame, PortIndex from, PortIndex to, WorkerIndex owner) {
  note_of(frame) = {.port = to, .from = from, .errand = FrameNote::Errand::Transmit};
  if (!rings_.handoff_to[owner].push(frame)) return drop(frame, from, DropReason::HandoffFull);
  counters_.handoff_frames.add(1);
}

void Transmitter::drop(rte_mbuf* frame, PortIndex from, DropReason reason) {
  counters_.ports[from].drops[index_of(reason)].add(1);
  rte_pktmbuf_free(frame);
}

}  // namespace vmnat::dataplane
