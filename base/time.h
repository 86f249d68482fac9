// SPDX-License-Identifier: Apache-2.0
// The clocks of the house. Time is a parameter everywhere: who calls reads the clock, once a burst or event.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ratio>

namespace vmnat {

// The packet path's: time since start. 16 ticks a second: wraps after 8.5 years.
struct Clock {
  using rep = std::uint32_t;
  using period = std::ratio<1, 16>;
  using duration = std::chrono::duration<rep, period>;
  using time_point = std::chrono::time_point<Clock>;
  static constexpr bool is_steady = true;
};
using Time = Clock::time_point;
using Ticks = Clock::duration;

// Control's.
using SteadyTime = std::chrono::steady_clock::time_point;

// When work that began at `begun` and ends now may be done again: `least` after `now`, later where it would take more
// than a twentieth of control's time.
inline SteadyTime next_turn(SteadyTime begun, SteadyTime now, SteadyTime::duration least) {
  constexpr int kShareOfTime = 20;
  return now +
         std::max<SteadyTime::duration>(least, (std::chrono::steady_clock::now() - begun) * kShareOfTime);
}

// Time as it passes for others: it goes on while this machine sleeps, and nobody sets it (CLOCK_BOOTTIME).
struct BootClock;
using BootTime = std::chrono::time_point<BootClock, std::chrono::nanoseconds>;

}  // namespace vmnat
