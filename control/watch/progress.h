// SPDX-License-Identifier: Apache-2.0
// ProgressWatch: whether every worker goes on, which is what the service manager's watchdog is fed for.
//
// A worker finishes at least 16 polls a second, asleep or not (idle.h). One that has finished none for two seconds
// stands still: its VMs hear nothing any more, and a restart, which keeps the sessions, helps them. Control's own
// progress needs no watch: when it stands still, nobody feeds the watchdog.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/time.h"

namespace vmnat::control {

class ProgressWatch {
 public:
  static constexpr std::chrono::seconds kPatience{2};
  static constexpr std::chrono::seconds kLongestPause{1};  // between two looks

  struct Progress {
    bool all_go_on = true;
    std::vector<std::string> news;  // for the log: who stands still since, or goes on again
  };
  // `polls`: by worker, how many it has finished. Whoever is seen for the first time goes on.
  Progress look(const std::vector<std::uint64_t>& polls, SteadyTime now);

 private:
  struct Seen {
    std::uint64_t polls = 0;
    SteadyTime since{};  // the polls are as many
    bool stands_still = false;
  };
  std::vector<Seen> seen_;
};

// How often the watchdog wants to hear from us, at the least: half the time after which it bites. `watchdog` is 0
// where there is none.
constexpr std::chrono::microseconds pause_between_looks(std::chrono::microseconds watchdog) {
  constexpr std::chrono::microseconds kLongest = ProgressWatch::kLongestPause;
  return watchdog.count() == 0 ? kLongest : std::min(kLongest, watchdog / 2);
}

}  // namespace vmnat::control
