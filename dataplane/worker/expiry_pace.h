// SPDX-License-Identifier: Apache-2.0
// ExpiryPace: how many session records to look at now, so that a whole turn takes 4 s at whatever rate the
// worker polls.
//
//   table of 65536, polled each 2 ms by an idle worker:  5 records a step of 244 us, 8 steps a poll: 40
//   records the same, polled each 2 us by a busy one:            5 records in one poll of 122
//
// A poll after a long silence makes up for 16 ms at most, so that the sweep adds no latency. It is enough after
// a longer silence, too, while few records are in use: Conntrack::expire() keeps to them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace vmnat::dataplane {

class ExpiryPace {
 public:
  static constexpr std::uint64_t kStepsPerSecond = 4096;
  static constexpr std::uint64_t kTurnSeconds = 4;
  static constexpr std::uint64_t kMostSteps = 64;  // at a time

  ExpiryPace(std::uint32_t records, std::uint64_t tsc_hz)
      : step_(static_cast<unsigned>(records / (kStepsPerSecond * kTurnSeconds) + 1)),
        step_tsc_(tsc_hz / kStepsPerSecond) {}

  [[nodiscard]] bool is_due(std::uint64_t tsc) const { return tsc >= next_; }
  // Records; once is_due() says so.
  unsigned take(std::uint64_t tsc) {
    const std::uint64_t steps = std::min((tsc - next_) / step_tsc_ + 1, kMostSteps);
    next_ = steps == kMostSteps ? tsc + step_tsc_ : next_ + steps * step_tsc_;
    return step_ * static_cast<unsigned>(steps);
  }
  // How long the worker may pause when so many records have been used: what one poll makes up for. 15 ms with
  // a full table.
  [[nodiscard]] std::chrono::milliseconds longest_silence(std::uint32_t used) const {
    constexpr std::uint64_t kTurn = 1000 * kTurnSeconds;
    return std::chrono::milliseconds(std::min(kTurn * kMostSteps * step_ / std::max(used, 1u), kTurn));
  }

 private:
  unsigned step_;
  std::uint64_t step_tsc_;
  std::uint64_t next_ = 0;
};

}  // namespace vmnat::dataplane
