// SPDX-License-Identifier: Apache-2.0
// Idle: how a worker rests when nothing comes (`dataplane.idle`).
//
// `poll` never rests. `adaptive` polls on for a while after the last frame, then sleeps longer and longer:
// up to 100 us, which bounds the latency that resting adds to the first frame after a pause.
#pragma once

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
  // Makes short sleeps short: called once on the worker's own thread.
  static void prepare_thread();

 private:
  static constexpr unsigned kPatience = 1024;  // empty polls, some 100 us
  [[gnu::cold]] void rest();
  unsigned empty_polls_ = 0;
};

}  // namespace vmnat::dataplane
