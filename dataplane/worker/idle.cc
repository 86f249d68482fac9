// SPDX-License-Identifier: Apache-2.0
#include "dataplane/worker/idle.h"

#include <ctime>
#include <sys/prctl.h>

namespace vmnat::dataplane {

void IdleRest::prepare_thread() {
  prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);  // nanoseconds; the default is 50 us
}

void IdleRest::rest() {
  if (empty_polls_ == kPatience + 1) silence_ = kPatienceTime;  // the first time since a frame
  empty_polls_ = kPatience + 1;
  const std::uint32_t sleep = sleep_after(silence_);
  silence_ = std::min(silence_ + sleep, 8 * kLongest);
  const timespec duration{.tv_sec = 0, .tv_nsec = sleep};
  nanosleep(&duration, nullptr);
}

}  // namespace vmnat::dataplane
