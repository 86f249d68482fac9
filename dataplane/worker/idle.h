// SPDX-License-Identifier: Apache-2.0
// Idle: how a worker rests when nothing comes (`dataplane.idle`).
//
// `poll` never rests. `adaptive` polls on for some 100 us after the last frame, then sleeps until something
// wakes it (wake_set.h):
//
//   frame     polls for 100 us     asks for kicks, polls: nothing     sleeps      kick: polls, a frame:
//     |.........................................|.......................|............|  refuses kicks, goes on
//
// It wakes by itself for what time brings (longest_sleep() in worker.cc), looks round, and sleeps on.
//
// Where a port cannot wake it (DPDK's, or a guest's rings that librte_vhost drives) it sleeps by the clock,
// for an eighth of the silence so far, at most 2 ms: resting delays the first frame after a pause by no more
// than an eighth of the pause. Example: after 1 ms of silence 125 us, from 16 ms on 2 ms.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "dataplane/worker/wake_set.h"

namespace vmnat::dataplane {

class IdleRest {
 public:
  // Both outlive it. `tsc_hz`: ticks a second of the time stamp counter, which all times here are of. Without a
  // doorbell it sleeps by the clock.
  IdleRest(std::span<PolledQueue> queues, Doorbell* doorbell, std::uint64_t tsc_hz);

  // The worker's thread begins: makes short sleeps short.
  void begin(std::uint64_t tsc);
  // Other queues are polled from now on, and outlive it in turn. Before the next sleep they are asked.
  [[gnu::cold]] void follow(std::span<PolledQueue> queues);
  // It may sleep after this poll, which therefore looks at everything.
  [[nodiscard]] bool is_resting() const { return patience_ == 0; }
  // Told after every poll, with the time at which it began. True: rest() is to be called.
  bool note_poll(unsigned frames, std::uint64_t tsc) {
    if (frames != 0) last_frame_ = tsc;
    return tsc - last_frame_ >= patience_;
  }
  // Sleeps, or gets up when there were frames. `longest`: when something wakes it.
  [[gnu::cold]] void rest(unsigned frames, std::uint64_t tsc, std::chrono::milliseconds longest);

  // Nanoseconds of sleep by the clock after so many of silence.
  static constexpr std::uint64_t sleep_after(std::uint64_t silence) {
    return std::min(silence / 8, kLongest);
  }

 private:
  static constexpr std::uint64_t kPatienceTime = 100'000, kLongest = 2'000'000;  // ns
  void get_up();
  void sleep_by_the_clock(std::uint64_t tsc) const;

  WakeSet wake_set_;
  Doorbell* doorbell_;
  std::uint64_t tsc_per_us_;
  std::uint64_t patience_;        // ticks of silence before rest(); 0 while it rests
  std::uint64_t last_frame_ = 0;  // when
  bool is_listening_ = false;     // the doorbell and all queues will wake it
  bool is_retrying_ = false;      // frames wait that the poll before had not seen
};

}  // namespace vmnat::dataplane
