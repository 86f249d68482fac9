// SPDX-License-Identifier: Apache-2.0
// Idle: how a worker rests when nothing comes (`dataplane.idle`).
//
// `poll` never rests. `adaptive` polls on for some 100 us after the last frame, then sleeps for an eighth of
// the silence so far, at most 2 ms: resting delays the first frame after a pause by no more than an eighth of
// the pause. Example: after 1 ms of silence 125 us, from 16 ms on 2 ms.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vmnat::dataplane {

class IdleRest {
 public:
  // Told after every poll; sleeps when it is time to.
  void note_poll(unsigned frames) {
    if (frames != 0)
      empty_polls_ = 0;
    else if (++empty_polls_ > kPatience)
      rest();
  }
  // Nanoseconds of sleep after so many of silence.
  static constexpr std::uint32_t sleep_after(std::uint32_t silence) {
    return std::min(silence / 8, kLongest);
  }
  // Makes short sleeps short: called once on the worker's own thread.
  static void prepare_thread();

 private:
  static constexpr unsigned kPatience = 1024;                                    // empty polls
  static constexpr std::uint32_t kPatienceTime = 100'000, kLongest = 2'000'000;  // ns
  [[gnu::cold]] void rest();
  unsigned empty_polls_ = 0;
  std::uint32_t silence_ = 0;  // ns, about; not beyond what makes the longest sleep
};

}  // namespace vmnat::dataplane
