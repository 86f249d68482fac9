// SPDX-License-Identifier: Apache-2.0
// Backlog: frames that an uplink's device had no room for, in a queue for each port that they came from.
//
// They leave as the device takes them, in turns by bytes (deficit round robin), so that of VMs which together want more
// than the uplink takes each gets an even part, and who wants less gets that. What the gateway itself has to send (ARP,
// DHCP, ICMP errors) goes before everything else. Example, a device that takes 12 KB in some time, kTurn = 8 KB:
//
//   queue of      waits            takes                                      leaves
//   the gateway   one ARP request  at once                                    60 B
//   vm1, floods   64-byte frames   its turn: 8 KB and no more                 8 KB
//   vm2           full frames      what is left; its turn goes on next time   4 KB
//
// A queue holds 256 KiB, which are 2 ms of a link of 1 Gbit/s, and what is more is dropped as drop.tx_full: a VM's
// flood takes nobody's place but its own. TCP finds its part by that. If the device takes nothing for 100 ms, all goes.
// A kernel interface is full when its socket is. Its queueing discipline drops by itself, which looks like a filter's
// verdict: such a frame is lost at once, and holds nobody up.
//
// Owned by a worker: the one that transmits by the uplink, or has a transmit queue of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <rte_mbuf.h>

#include "base/ids.h"
#include "conntrack/reserved_array.h"
#include "dataplane/context/held_frames.h"
#include "dataplane/frame/wire_size.h"

namespace vmnat::dataplane {

class Backlog {
 public:
  static constexpr std::uint64_t kMostBytes = 256 * 1024;  // of a queue, but a super-frame at least
  static constexpr std::int64_t kTurn = 8192;              // bytes on the wire

  // `uplink`: frames from it are the gateway's own.
  Backlog(std::size_t most_ports, PortIndex uplink) : queues_(most_ports), turns_(most_ports), own_(uplink) {}
  [[nodiscard]] bool has_memory() const { return queues_.reserved() && turns_.reserved(); }

  [[nodiscard]] bool is_empty() const { return count_ == 0; }
  std::uint64_t moved_at = 0;  // when the device took something, or the first frame came
  [[nodiscard]] const HeldFrames& of(PortIndex from) const { return queues_[from].frames; }

  // Behind what has come from the same port. Whether there is room is asked before.
  void add(rte_mbuf* frame, PortIndex from) {
    Queue& queue = listed(from);
    queue.frames.push_back(frame);
    ++count_;
  }
  // The port whose frames leave next, until it has no more or has had its turn. Not of an empty backlog.
  PortIndex whose_turn() {
    if (!queues_[own_].frames.is_empty()) return own_;
    while (queues_[turns_[first_]].left <= 0) pass_on();
    return turns_[first_];
  }
  [[nodiscard]] bool goes_on(PortIndex from) const {
    return !queues_[from].frames.is_empty() && (from == own_ || queues_[from].left > 0);
  }
  // The first frame of whose turn it is. One more than the turn is worth is a debt, which the next turns pay.
  rte_mbuf* take(PortIndex from) {
    Queue& queue = queues_[from];
    rte_mbuf* const frame = queue.frames.pop();
    queue.left -= static_cast<std::int64_t>(wire_size(frame).bytes);
    --count_;
    if (queue.frames.is_empty() && from != own_) unlist();
    return frame;
  }
  // The device has not taken it, the last one that was taken and is not back yet. It is still the port's turn.
  void put_back(rte_mbuf* frame, PortIndex from) {
    Queue& queue = queues_[from];
    queue.frames.push_front(frame);
    queue.left += static_cast<std::int64_t>(wire_size(frame).bytes);
    ++count_;
    if (!queue.is_listed && from != own_) list_first(from);
  }

 private:
  struct Queue {
    HeldFrames frames;
    std::int64_t left = 0;  // bytes, of its turn
    bool is_listed = false;
  };

  Queue& listed(PortIndex from) {
    Queue& queue = queues_[from];
    if (queue.is_listed || from == own_) return queue;
    queue.is_listed = true;
    queue.left = std::min<std::int64_t>(queue.left, 0) + kTurn;  // a debt stays
    turns_[(first_ + listed_++) % turns_.size()] = from;
    return queue;
  }
  void list_first(PortIndex from) {
    queues_[from].is_listed = true;
    first_ = first_ == 0 ? turns_.size() - 1 : first_ - 1;
    turns_[first_] = from;
    ++listed_;
  }
  void unlist() {
    queues_[turns_[first_]].is_listed = false;
    first_ = (first_ + 1) % turns_.size();
    --listed_;
  }
  void pass_on() {
    const PortIndex port = turns_[first_];
    queues_[port].left += kTurn;
    first_ = (first_ + 1) % turns_.size();
    turns_[(first_ + listed_ - 1) % turns_.size()] = port;
  }

  conntrack::ReservedArray<Queue> queues_;  // by the port that frames came from
  conntrack::ReservedArray<PortIndex>
      turns_;  // a ring of the ports that have frames; the first one has its turn
  std::size_t first_ = 0, listed_ = 0;
  std::uint32_t count_ = 0;  // of all queues
  PortIndex own_;
};

}  // namespace vmnat::dataplane
