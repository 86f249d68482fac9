// SPDX-License-Identifier: Apache-2.0
// What time it was when the time stamp counter had a value, not long ago.
#pragma once

#include <chrono>
#include <cstdint>

namespace vmnat::control {

class TscTime {
 public:
  using WallTime = std::chrono::sys_time<std::chrono::nanoseconds>;

  explicit TscTime(std::uint64_t tsc_hz) : hz_(static_cast<double>(tsc_hz)) {}
  // Both were read at the same moment. Often: the clock may be set, and the counter drifts against it.
  void set(std::uint64_t tsc, WallTime wall) {
    tsc_ = tsc;
    wall_ = wall;
  }
  [[nodiscard]] WallTime at(std::uint64_t tsc) const {
    const auto ticks = static_cast<double>(static_cast<std::int64_t>(tsc - tsc_));
    return wall_ + std::chrono::nanoseconds(static_cast<std::int64_t>(ticks / hz_ * 1e9));
  }

 private:
  double hz_;
  std::uint64_t tsc_ = 0;
  WallTime wall_{};
};

}  // namespace vmnat::control
