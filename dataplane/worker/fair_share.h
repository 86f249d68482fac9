// SPDX-License-Identifier: Apache-2.0
// FairShare: how much work the frames of one receive queue may make for their worker. Owned by that worker.
//
// A burst is 64 frames, but one frame may be cut into 256 segments, be copied to every port of its network,
// or hold 64 KB. The work that a burst makes beyond a poll's share is a debt, and the queue is not polled
// until the debt is paid: its frames wait with their guest, and the worker's other ports have their turns
// meanwhile. Example, 64 super-frames of 45 segments each:
//
//   poll 1      64 frames, 2816 segments more      debt 2688
//   poll 2-22   not polled, 128 a poll             debt 2560 ... 0
//   poll 23     the next 64 frames
//
// So its bursts make 128 frames a poll in the long run, as much as two ordinary ones. Alone on its worker it
// loses nothing: polls of nothing take no time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "dataplane/frame/burst_size.h"

namespace vmnat::dataplane {

class FairShare {
 public:
  static constexpr std::uint32_t kPerPoll = 2 * kBurstSize;  // frames made, or 2 KiB received

  // False: not in this poll, which pays for earlier ones.
  bool has_turn() {
    if (debt_ == 0) return true;
    debt_ -= std::min(debt_, kPerPoll);
    return false;
  }
  void charge(std::uint64_t made) {
    if (made > kPerPoll) debt_ += static_cast<std::uint32_t>(made - kPerPoll);
  }

 private:
  std::uint32_t debt_ = 0;
};

}  // namespace vmnat::dataplane
