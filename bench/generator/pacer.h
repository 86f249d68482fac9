// SPDX-License-Identifier: Apache-2.0
// Pacer: how many frames are due at a fixed rate, by the time stamp counter.
//
// The n-th frame is due n / rate after the start; asked often enough, it gives a few frames at a time. A
// frame that the device's ring does not take waits; when more than `patience` worth of frames wait, the
// oldest are given up, which is loss. A gap between two questions that is longer than `longest_gap` is the
// generator's own absence (another process had its CPU): the schedule moves on by what is longer, so that the
// generator's trouble is neither a burst nor loss.
//
//   1 frame a tick, patience 100: asked at 10, 10 are due; 10 taken; asked at 200, 100 are due, 90 given up
#pragma once

#include <algorithm>
#include <cstdint>

namespace vmnat::bench {

class Pacer {
 public:
  struct Limits {
    std::uint64_t longest_gap;  // ticks
    std::uint64_t patience;     // ticks
    // A turn of a generator's loop takes a microsecond or two; a device may be away for a millisecond.
    static constexpr Limits usual(double ticks_per_second) {
      return {.longest_gap = static_cast<std::uint64_t>(50e-6 * ticks_per_second),
              .patience = static_cast<std::uint64_t>(1e-3 * ticks_per_second)};
    }
  };
  Pacer(double frames_per_tick, Limits limits, std::uint64_t start)
      : frames_per_tick_(frames_per_tick), limits_(limits), start_(start), last_(start) {}

  // Frames to be sent now. `now` never goes back.
  std::uint64_t due(std::uint64_t now) {
    const std::uint64_t gap = now - last_;
    if (gap > limits_.longest_gap) start_ += gap - limits_.longest_gap;
    last_ = now;
    offered_ = static_cast<std::uint64_t>(static_cast<double>(now - start_) * frames_per_tick_);
    const auto most = std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(static_cast<double>(limits_.patience) * frames_per_tick_));
    if (waiting() > most) given_up_ += waiting() - most;
    return waiting();
  }
  void took(std::uint64_t frames) { taken_ += frames; }

  // Frames whose time has come: taken, waiting, or given up.
  [[nodiscard]] std::uint64_t offered() const { return offered_; }
  [[nodiscard]] std::uint64_t given_up() const { return given_up_; }
  [[nodiscard]] std::uint64_t waiting() const { return offered_ - taken_ - given_up_; }

 private:
  double frames_per_tick_;
  Limits limits_;
  std::uint64_t start_;
  std::uint64_t last_;
  std::uint64_t offered_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t given_up_ = 0;
};

}  // namespace vmnat::bench
