// SPDX-License-Identifier: Apache-2.0
// Transmit: per-port buffers of frames, flushed in bursts by the port's owner.
//
// A frame for a port owned by another worker crosses on the handoff ring and is buffered there. A frame that
// a port does not take is dropped and counted, never waited for: a slow VM costs only its own frames.
//
// Every frame that is sent fits its device, whatever way it came: it is no longer than the port's MTU and its
// link header, or a super-frame whose segments are not, and lies in no more buffers than the device takes.
#pragma once

#include <memory>
#include <rte_mbuf.h>

#include "base/ids.h"
#include "dataplane/context/counters.h"
#include "dataplane/context/forwarding_state.h"
#include "dataplane/context/rings.h"
#include "dataplane/device/offload.h"

namespace vmnat::dataplane {

class Transmitter {
 public:
  // For ports below `most_ports`. A transmit queue is one worker's: see Port::transmitter_for.
  Transmitter(WorkerIndex worker, std::size_t most_ports, WorkerCounters& counters, Rings& rings);
  [[nodiscard]] bool has_memory() const { return buffers_.reserved(); }

  // Takes the frame over; `from` is the port that its drop would be charged to.
  void send(const ForwardingState& state, rte_mbuf* frame, PortIndex from, PortIndex to) {
    const Port& port = state.ports[to];
    if (const WorkerIndex other = port.transmitter_for(worker_); other != worker_)
      return send_by(other, frame, from, to);
    if (may_be_unfinished(frame->ol_flags) || frame->pkt_len > sizeof(net::EthernetHeader) + port.mtu ||
        frame->nb_segs > port.offloads.most_buffers)
      return send_unusual(port, frame, from, to);
    put(port, frame, from, to);
  }
  // Hands a frame over to another worker, which carries out the errand on the frame's note.
  void hand_over(rte_mbuf* frame, PortIndex from, WorkerIndex to);
  // Hands all buffered frames to the devices, and wakes workers that frames were handed over to; called at
  // the end of every poll.
  void flush(const ForwardingState& state);

 private:
  static constexpr unsigned kBufferSize = Transmission::kMostFrames;
  struct Buffer {
    std::uint16_t count;
    bool is_listed;    // in dirty_
    bool has_offload;  // some frame asks the device to do something
    rte_mbuf* frames[kBufferSize];
    PortIndex from[kBufferSize];
  };

  void put(const Port& port, rte_mbuf* frame, PortIndex from, PortIndex to) {
    Buffer& buffer = buffers_[to];
    if (buffer.count == kBufferSize) flush_port(to, port);
    if (!buffer.is_listed) list(to);
    buffer.from[buffer.count] = from;
    buffer.frames[buffer.count++] = frame;
  }
  [[gnu::cold]] void send_unusual(const Port& port, rte_mbuf* frame, PortIndex from, PortIndex to);
  [[gnu::cold]] void send_unfinished(const Port& port, rte_mbuf* frame, PortIndex from, PortIndex to);
  [[gnu::cold]] void send_in_segments(const Port& port, rte_mbuf* frame, PortIndex from, PortIndex to);
  void list(PortIndex port) {
    buffers_[port].is_listed = true;
    dirty_[dirty_count_++] = port;
  }
  void flush_port(PortIndex to, const Port& port);
  void add_tags(PortIndex to, std::uint16_t vlan, Buffer& buffer);
  [[gnu::cold]] void drop_unprepared(PortIndex to, const BurstPort& device, std::uint16_t queue,
                                     Buffer& buffer);
  [[gnu::cold]] Transmission transmit_watched(PortIndex to, const Port& port, std::uint16_t queue,
                                              Buffer& buffer);
  void send_by(WorkerIndex other, rte_mbuf* frame, PortIndex from, PortIndex to);
  [[gnu::cold]] void wake_others();
  void drop(rte_mbuf* frame, PortIndex from, PortIndex to, DropReason reason) {
    counters_.drop(frame, from, reason, to);
  }

  WorkerIndex worker_;
  WorkerCounters& counters_;
  Rings& rings_;
  conntrack::ReservedArray<Buffer> buffers_;  // by PortIndex: the pages of those that there are
  std::unique_ptr<PortIndex[]> dirty_;        // ports with buffered frames
  unsigned dirty_count_ = 0;
  bool has_handed_over_ = false;             // to some worker, since the last flush:
  std::unique_ptr<bool[]> was_handed_over_;  // by worker
};

}  // namespace vmnat::dataplane
