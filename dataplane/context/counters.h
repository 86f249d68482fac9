// SPDX-License-Identifier: Apache-2.0
// Counters: one writer (the worker), any number of relaxed readers (control), who see each counter whole, not
// all of them at one instant.
//
// Invariant once traffic rests, summed over workers and ports; every test checks it:
//   received + flood_copies + injected + generated
//       = transmitted + punted + dropped + fragments held + segments merged + limits held
// `generated` are the frames that workers make themselves: ICMP errors, TCP resets, and the pieces or
// segments of a frame that is cut, beyond the first, which counts for the frame. A frame that is refused with
// an ICMP error is dropped all the same, under its reason; the error is one more frame on both sides. Drops
// are charged to the port that a frame came from; of frames that control injects, to the port it was to leave
// by.
#pragma once

#include <array>
#include <cstdint>
#include <rte_mbuf.h>

#include "base/cache_line.h"
#include "base/counter.h"
#include "base/ids.h"
#include "conntrack/reserved_array.h"
#include "dataplane/context/stage_cycles.h"
#include "dataplane/frame/drop_reasons.h"
#include "dataplane/observe/dropped.h"

namespace vmnat::dataplane {

struct alignas(kCacheLineSize) PortCounters {
  Counter rx_packets, rx_bytes;
  Counter tx_packets, tx_bytes;
  Counter tx_refused;              // frames for the port that its device or guest did not take
  Counter limited_out;             // times that what it sends had to wait for a limit
  Counter limited_in;              // frames for the port that had to wait for a limit
  Counter limited_dropped;         // ... and found no room to wait
  Counter made;                    // frames that the worker has added to those that came from it
  std::uint64_t made_charged = 0;  // of these, for which its queues have been charged; the worker's own
  std::array<Counter, kDropReasonCount> drops;
};

struct alignas(kCacheLineSize) WorkerCounters {
  explicit WorkerCounters(std::size_t most_ports) : ports(most_ports) {}

  // A frame's end, charged to this port. `towards`: the port that it was to leave by, if that is known.
  void drop(rte_mbuf* frame, PortIndex port, DropReason reason, PortIndex towards = kNoPort) {
    count_drop(frame, port, reason, towards);
    rte_pktmbuf_free(frame);
  }
  // The end of a copy that could not be made of this frame.
  void count_drop(const rte_mbuf* frame, PortIndex port, DropReason reason, PortIndex towards) {
    if (watch != nullptr) see_dropped(*watch, frame, port, reason, towards);
    ports[port].drops[index_of(reason)].add(1);
  }

  // Frames that are added to those that came from the port, of one of the kinds below.
  void count_made(Counter WorkerCounters::*kind, PortIndex port, unsigned frames) {
    (this->*kind).add(frames);
    ports[port].made.add(frames);
  }

  Watch* watch = nullptr;  // the worker's, while somebody observes

  std::array<Counter, kPuntReasonCount> punts;
  Counter flood_copies;            // frames made by copying for all but the first port of a flood
  Counter injected;                // frames of the control thread
  Counter icmp_errors_sent;        // generated, about frames that were refused
  Counter icmp_errors_suppressed;  // not generated: over the rate limit, or no buffer
  Counter tcp_resets_sent;         // generated, about a VM's segments of no connection
  Counter tcp_resets_suppressed;   // not generated, for the same reasons
  Counter fragments_seen;          // fragments of TCP, UDP and ICMP to be routed
  Counter fragments_held;          // gauge: those that wait for their datagram's first
  Counter limits_held;             // gauge: frames that wait for a limit, or for an uplink's device
  Counter backlogged;              // frames that found an uplink's device full, and waited
  Counter fragments_made;          // pieces of frames above the egress MTU, beyond each one's first
  Counter segments_made;           // segments of TCP super-frames, beyond each one's first
  Counter segments_merged;         // TCP segments that became part of another's frame
  Counter receive_deferred;        // polls of a queue put off: its frames had made more work than their share
  Counter handoff_frames;          // frames that crossed from this worker to another
  Counter learn_missed;  // reports of MACs that control did not get: over the port's budget, or ring full
  Counter host_flows_displaced;  // flows of the host forgotten before their time, for want of room
  Counter peer_flows_displaced;  // the same of flows between VMs that rules have accepted
  Counter busy_cycles;           // TSC cycles of polls that found frames
  Counter total_cycles;          // of all polls
  [[no_unique_address]] StageCounters stages;    // where the cycles went, in a build with -Dstage_cycles=true
  conntrack::ReservedArray<PortCounters> ports;  // by PortIndex: the pages of those that there are
};

}  // namespace vmnat::dataplane
