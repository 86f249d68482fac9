// SPDX-License-Identifier: Apache-2.0
// Trunk: the receive queue of a DPDK device whose frames are several ports', each another VLAN of it.
//
// What one burst of the device brings is sorted by VLAN (vlan.h) into the members' stashes; each member takes from its
// own. The device is asked once a turn of its members, by the first one that finds its stash empty:
//
//   members 10, 20, 30     10 asks: 20 20 10 30 20     takes 10     20 takes 20 20 20     30 takes 30
//   next turn              10 asks: nothing
//
// Frames of a VLAN keep their order. After a turn in which a member took half a burst or more and left some, the device
// is not asked: what cannot be worked off in time waits there, where there is more room. A member that takes nothing or
// little (a limit holds it, or it works off a debt) delays nobody: its stash fills up, and what comes then is missed.
// Frames of no member's VLAN, and of none, go to the member that has asked: the worker drops them there
// (Worker::leave_vlan).
//
// Threads: one worker, which polls all members, each of them at every turn; so there are no locks. Control lets members
// join at any time, and leave when the worker does not poll them any more: leave(), until not is_in_use(): forget().
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <rte_mbuf.h>

#include "base/counter.h"
#include "dataplane/device/worker_gate.h"

namespace vmnat::dataplane {

class Trunk {
 public:
  static constexpr unsigned kStashSize = 256;  // frames; a power of two

  // A started device, whose first queue is the trunk's, and which outlives the polls.
  explicit Trunk(std::uint16_t port_id) : port_id_(port_id) {}

  // The worker: at most `most` frames for the member of that VLAN, with their tags.
  std::uint16_t receive(std::uint16_t vlan, rte_mbuf** frames, std::uint16_t most);

  // Control: VLANs from 1 to 4094, none of them twice.
  void join(std::uint16_t vlan);
  // Nothing more is sorted for it.
  void leave(std::uint16_t vlan) { stashes_[vlan].store(nullptr, std::memory_order_relaxed); }
  // Frees its stash.
  void forget(std::uint16_t vlan);
  [[nodiscard]] bool is_in_use() const { return gate_.is_inside(); }
  // Of a member: frames that found its stash full.
  [[nodiscard]] std::uint64_t frames_missed(std::uint16_t vlan) const {
    return members_.at(vlan)->missed.get();
  }

 private:
  static constexpr std::size_t kVlans = 4096;

  struct Stash {
    Stash() = default;
    ~Stash();
    Stash(const Stash&) = delete;
    Stash& operator=(const Stash&) = delete;
    void put(rte_mbuf* frame);
    std::uint16_t take(rte_mbuf** taken, std::uint16_t most);

    std::array<rte_mbuf*, kStashSize> frames;
    unsigned first = 0, count = 0;
    std::uint64_t bursts_seen = 0;  // of the device, when the member was polled last
    Counter missed;
  };
  void sort_burst(Stash& asking);

  std::uint16_t port_id_;
  std::uint64_t bursts_ = 0;  // or turns without one; the worker's, like what is in the stashes
  bool is_behind_ = false;    // in this turn a member has left frames
  WorkerGate gate_;
  std::array<std::atomic<Stash*>, kVlans> stashes_{};        // by VLAN
  std::map<std::uint16_t, std::unique_ptr<Stash>> members_;  // control's
};

}  // namespace vmnat::dataplane
