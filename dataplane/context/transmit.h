// SPDX-License-Identifier: Apache-2.0
// Transmit: per-port buffers of frames, flushed in bursts by the port's owner.
//
// A frame for a port owned by another worker crosses on the handoff ring and is buffered there. A frame that a VM's port
// does not take is dropped and counted, never waited for: a slow VM costs only its own frames. What an uplink's device has
// no room for waits, and leaves in turns of the ports that it came from (backlog.h).
//
// For a port with a limit frames wait here until it lets them go (limits.h, held_frames.h): every flush releases what
// may leave by then.
//
// Every frame that is sent fits its device, whatever way it came: it is no longer than the port's MTU and its
// link header, or a super-frame whose segments are not, and lies in no more buffers than the device takes.
#pragma once

#include <algorithm>
#include <memory>
#include <rte_mbuf.h>
#include <vector>

#include "base/ids.h"
#include "dataplane/context/backlog.h"
#include "dataplane/context/counters.h"
#include "dataplane/context/fair_turns.h"
#include "dataplane/context/forwarding_state.h"
#include "dataplane/context/held_frames.h"
#include "dataplane/context/rings.h"
#include "dataplane/device/offload.h"

namespace vmnat::dataplane {

class Transmitter {
 public:
  struct Setup {
    std::size_t most_ports;
    PortIndex uplinks;  // they have the lowest numbers
    std::uint64_t tsc_hz;
  };
  // A transmit queue is one worker's: see Port::transmitter_for.
  Transmitter(WorkerIndex worker, const Setup& setup, WorkerCounters& counters, Rings& rings);
  [[nodiscard]] bool has_memory() const {
    return buffers_.reserved() && held_.reserved() && turns_.has_memory() &&
           std::ranges::all_of(backlogs_, &Backlog::has_memory);
  }
  // Before each poll: its time, by the clock of the limits.
  void begin_poll(std::uint64_t tsc) { tsc_ = tsc; }
  // The limits that hold from now on, which outlive it; nullptr: there are none.
  void follow(const LimitTable* limits) { limits_ = limits; }
  // Frames wait for a limit, or an uplink's device, and nothing tells when they may go: a look each millisecond is enough,
  // unless it stays awake.
  [[nodiscard]] bool is_holding() const { return holding_count_ != 0 || has_backlog_; }
  [[nodiscard]] bool stays_awake() const { return stays_awake_ || backlog_moves_; }
  // Frees what waits. After the last poll.
  [[gnu::cold]] void free_held();

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
    bool is_listed;      // in dirty_
    bool has_offload;    // some frame asks the device to do something
    bool is_backlogged;  // frames of an uplink wait for its device
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
  void transmit_buffered(PortIndex to, const Port& port);
  Transmission hand_to_device(PortIndex to, const Port& port, Buffer& buffer);
  [[gnu::cold]] void settle_untaken(PortIndex to, const Port& port, Buffer& buffer,
                                    const Transmission& result);
  static DropReason refusal_of(const BurstPort& device, const Transmission& result, unsigned i);
  [[gnu::cold]] void refuse(rte_mbuf* frame, PortIndex from, PortIndex to, DropReason reason);
  [[gnu::cold]] void line_up(PortIndex to, const Buffer& buffer);
  [[gnu::cold]] void keep(PortIndex to, const Buffer& buffer, unsigned i);
  [[gnu::cold]] void release_backlogs(const ForwardingState& state);
  [[gnu::cold]] bool release_backlog(PortIndex to, const Port& port);
  [[gnu::cold]] void drop_backlog(PortIndex to, DropReason reason);
  bool put_back(PortIndex to, const Port& port, Buffer& buffer, const Transmission& result);
  rte_mbuf* take_waiting(Backlog& backlog, PortIndex from);
  class Allowance;
  [[gnu::cold]] void hold_back(PortIndex to, const Port& port);
  [[gnu::cold]] void hold(rte_mbuf* frame, PortIndex from, PortIndex to, const Port& port);
  [[nodiscard]] bool has_room(const HeldFrames& held, const rte_mbuf* frame, PortIndex to) const;
  [[nodiscard]] std::uint32_t most_held_buffers(const rte_mbuf* frame) const;
  [[gnu::cold]] void release_held(const ForwardingState& state);
  [[gnu::cold]] bool release(const ForwardingState& state, PortIndex to);
  [[gnu::cold]] bool end_holding(PortIndex to, const Port& port);
  rte_mbuf* take_held(HeldFrames& held);
  void transmit_held(rte_mbuf* frame, PortIndex to, const Port& port);
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
  // Of limits: in the poll that is under way, and what waits for them.
  const LimitTable* limits_ = nullptr;
  std::uint64_t tsc_ = 0;
  conntrack::ReservedArray<HeldFrames> held_;  // by PortIndex
  std::unique_ptr<PortIndex[]> holding_;       // ports that hold something
  unsigned holding_count_ = 0;
  std::uint32_t held_buffers_ = 0;  // of all that wait, in the backlogs as well
  bool stays_awake_ = false;        // some limit that is waited for has a short burst
  FairTurns turns_;
  std::vector<Backlog> backlogs_;            // by uplink
  std::uint64_t backlog_patience_;           // TSC ticks
  bool has_backlog_ = false;                 // some of them has frames
  bool backlog_moves_ = false;               // ... of which some have just left
  bool has_handed_over_ = false;             // to some worker, since the last flush:
  std::unique_ptr<bool[]> was_handed_over_;  // by worker
};

}  // namespace vmnat::dataplane
