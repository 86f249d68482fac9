// SPDX-License-Identifier: Apache-2.0
// ErrandQueue: frames of a worker that have to pass through steps again, each with its errand on its note.
//
// No step calls an earlier one. It queues the frame, and once the burst in work is used up the pipeline takes
// it up again, as it takes the frames that other workers hand over. Example, a hairpin:
//
//   burst  vm2 > 203.0.113.2:8080     parse ... translate, deliver: queued, errand RouteInbound
//   queue  203.0.113.2:5000 > ...     parse, steer, look up, ... deliver: vm1
//
// Errands lead forward alone: released fragments may turn round, what has turned round comes in, what comes
// in never goes out again. So the queue runs empty after every burst, and no frame goes round twice.
//
// A burst queues its 64 frames at most, or their pieces, should they be cut for the uplink before they turn
// round. Pieces beyond the capacity are dropped as `handoff_full`. Owned by one worker.
#pragma once

#include <array>
#include <rte_mbuf.h>

namespace vmnat::dataplane {

class ErrandQueue {
 public:
  static constexpr unsigned kCapacity = 4096;  // 64 frames of 64 KB in pieces of 1.5 KB are 2880

  [[nodiscard]] bool is_empty() const { return taken_ == queued_; }
  // False: the queue is full.
  bool push(rte_mbuf* frame) {
    if (queued_ - taken_ == kCapacity) return false;
    frames_[queued_++ % kCapacity] = frame;
    return true;
  }
  // At most so many, in the order of their queuing.
  unsigned pop(rte_mbuf** frames, unsigned most) {
    unsigned count = 0;
    while (count < most && !is_empty()) frames[count++] = frames_[taken_++ % kCapacity];
    return count;
  }

 private:
  unsigned queued_ = 0, taken_ = 0;  // since start
  std::array<rte_mbuf*, kCapacity> frames_;
};

}  // namespace vmnat::dataplane
