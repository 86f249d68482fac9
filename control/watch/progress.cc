// SPDX-License-Identifier: Apache-2.0
#include "control/watch/progress.h"

#include <fmt/format.h>
#include <utility>

namespace vmnat::control {

ProgressWatch::Progress ProgressWatch::look(const std::vector<std::uint64_t>& polls, SteadyTime now) {
  Progress progress;
  seen_.resize(polls.size(), Seen{.since = now});
  for (std::size_t i = 0; i < polls.size(); ++i) {
    Seen& seen = seen_[i];
    const auto stood_for = now - seen.since;
    if (std::exchange(seen.polls, polls[i]) != polls[i]) seen.since = now;
    const bool stands_still = now - seen.since >= kPatience;
    progress.all_go_on &= !stands_still;
    if (std::exchange(seen.stands_still, stands_still) == stands_still) continue;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(stood_for).count();
    progress.news.push_back(
        stands_still ? fmt::format("worker {} stands still: it has finished no poll for {} s", i, seconds)
                     : fmt::format("worker {} goes on, after {} s", i, seconds));
  }
  return progress;
}

}  // namespace vmnat::control
