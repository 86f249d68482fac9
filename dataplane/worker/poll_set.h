// SPDX-License-Identifier: Apache-2.0
// PollSet: the receive queues of one worker, and at which of them it looks in each turn.
//
// Control makes a set and publishes it with a forwarding state; the worker takes it over between two polls
// (Worker::adopt), and from then on all in it is the worker's own. Ports that have no guest are in no set.
//
// Of many queues most are idle most of the time, and a look at an idle ring costs as much as some frames: its lines
// are the guest's. So a queue that has had nothing for 64 turns is idle, until a frame is found in it:
//
//   each turn          all active queues, then 8 idle ones, and 8 more for each burst that was found
//   before it sleeps   all of them
//
// Example, 256 queues, of which 2 are busy: a turn looks at these and at 24 others. The first frame after a pause
// waits for 11 turns, or 22 bursts; of n idle queues in general, for n / 8 bursts at most. Where few queues are,
// all are active, and so is always a VLAN of a trunk: whichever of them is polled receives for all (trunk.h).
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "dataplane/context/forwarding_state.h"
#include "dataplane/worker/receive_queue.h"

namespace vmnat::dataplane {

// How many share the worker's tables.
struct Sharers {
  unsigned ports = 1;    // all that there are, uplinks among them
  unsigned guests = 1;   // VM ports whose sessions are this worker's
  unsigned uplinks = 1;  // the first ports, whose queues are never idle
  bool operator==(const Sharers&) const = default;
};

enum class Look : std::uint8_t { AtSomeIdle, AtAll };

class PollSet {
 public:
  static constexpr std::size_t kFew = 16;
  static constexpr unsigned kQuietPolls = 64;
  static constexpr std::size_t kLooks = 8;

  // Control.
  PollSet(std::vector<ReceiveQueue> queues, Sharers sharers);

  [[nodiscard]] const Sharers& sharers() const { return sharers_; }
  [[nodiscard]] std::span<PolledQueue> queues() { return queues_; }  // in the order of their rank
  [[nodiscard]] std::size_t active() const { return active_; }
  // What queues owe that were in the other set as well.
  void take_debts_of(PollSet& before);

  // A turn. `receive(queue)` answers how many frames it has found, and so does this.
  template <typename Receive>
  unsigned poll(Look look, Receive receive) {
    unsigned frames = 0;
    std::size_t bursts = 0;
    for (std::size_t i = 0; i < active_;) {
      PolledQueue& queue = queues_[order_[i]];
      const unsigned found = receive(queue);
      frames += found;
      if (found != 0) ++bursts;
      if (turns_idle(queue, found))
        std::swap(order_[i], order_[--active_]);  // which has its turn next
      else
        ++i;
    }
    const std::size_t idle = order_.size() - active_;
    if (idle == 0) return frames;
    return frames + look_at_idle(look == Look::AtAll ? idle : std::min(idle, kLooks * (1 + bursts)), receive);
  }

 private:
  bool turns_idle(PolledQueue& queue, unsigned found) const {
    if (!has_idle_ || queue.is_held || queue.queue.device.trunk != nullptr) return false;
    queue.quiet_polls = static_cast<std::uint16_t>(found == 0 ? queue.quiet_polls + 1 : 0);
    return queue.quiet_polls >= kQuietPolls && queue.queue.port >= sharers_.uplinks;
  }
  template <typename Receive>
  unsigned look_at_idle(std::size_t looks, Receive receive) {
    unsigned frames = 0;
    for (; looks > 0 && active_ < order_.size(); --looks) {
      if (next_idle_ < active_ || next_idle_ >= order_.size()) next_idle_ = active_;
      PolledQueue& queue = queues_[order_[next_idle_]];
      const unsigned found = receive(queue);
      if (found == 0) {
        ++next_idle_;
        continue;
      }
      frames += found;
      queue.quiet_polls = 0;
      std::swap(order_[next_idle_], order_[active_++]);
    }
    return frames;
  }

  std::vector<PolledQueue> queues_;
  std::vector<std::uint16_t> order_;  // of the queues: first the active ones
  std::size_t active_;
  std::size_t next_idle_ = 0;
  bool has_idle_;
  Sharers sharers_;
};

}  // namespace vmnat::dataplane
