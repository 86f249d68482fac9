// SPDX-License-Identifier: Apache-2.0
// Gaps: how long nothing came where frames should come all the time.
//
// Only time in which the generator looked counts. A turn of its loop that takes longer than `longest_turn` was its
// own absence (another process had its CPU), and what came meanwhile waits in a ring: such a turn counts as long as
// `longest_turn`, and the rest of it is known as absence.
//
//   longest turn 50: a frame at 100, looks without any at 130, 160, 900, a frame at 920: a gap of 130, absent for 690
#pragma once

#include <algorithm>
#include <cstdint>

namespace vmnat::bench {

class Gaps {
 public:
  struct Limits {  // ticks
    std::uint64_t longest_turn;
    std::uint64_t long_gap;  // longer gaps are counted
    static constexpr Limits usual(double ticks_per_second) {
      return {.longest_turn = static_cast<std::uint64_t>(50e-6 * ticks_per_second),
              .long_gap = static_cast<std::uint64_t>(1e-3 * ticks_per_second)};
    }
  };
  Gaps(Limits limits, std::uint64_t start) : limits_(limits), last_(start) {}

  // A look at `now`, which never goes back, and whether it found a frame.
  void look(std::uint64_t now, bool has_arrived) {
    const std::uint64_t turn = now - last_;
    last_ = now;
    const std::uint64_t absence = turn - std::min(turn, limits_.longest_turn);
    longest_absence_ = std::max(longest_absence_, absence);
    gap_ += turn - absence;
    if (!has_arrived) return;
    longest_ = longest();
    long_gaps_ = long_gaps();
    gap_ = 0;
  }

  // The one that has not ended yet is one, too.
  [[nodiscard]] std::uint64_t longest() const { return std::max(longest_, gap_); }
  [[nodiscard]] std::uint64_t long_gaps() const { return long_gaps_ + (gap_ > limits_.long_gap ? 1 : 0); }
  [[nodiscard]] std::uint64_t longest_absence() const { return longest_absence_; }

 private:
  Limits limits_;
  std::uint64_t last_;
  std::uint64_t gap_ = 0;  // since the last frame
  std::uint64_t longest_ = 0;
  std::uint64_t long_gaps_ = 0;
  std::uint64_t longest_absence_ = 0;
};

}  // namespace vmnat::bench
