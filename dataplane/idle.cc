// SPDX-License-Identifier: Apache-2.0
#include "dataplane/idle.h"

#include <algorithm>
#include <sys/prctl.h>
#include <time.h>

namespace vmnat::dataplane {

void IdleRest::prepare_thread() {
  prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
}  // nanoseconds; default is 50 us

void IdleRest::rest() {
  constexpr unsigned kStepNs = 1000;
  constexpr unsigned kLongestNs = 100'000;
  const unsigned sleep_ns = std::min(kLongestNs, (empty_polls_ - kPatience) * kStepNs);
  empty_polls_ = std::min(empty_polls_, kPatience + kLongestNs / kStepNs);
  const timespec duration{.tv_sec = 0, .tv_nsec = sleep_ns};
  nanosleep(&duration, nullptr);
}

}  // namespace vmnat::dataplane
