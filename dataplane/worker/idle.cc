// SPDX-License-Identifier: Apache-2.0
#include "dataplane/worker/idle.h"

#include <ctime>
#include <sys/prctl.h>
#include <utility>

namespace vmnat::dataplane {

IdleRest::IdleRest(std::span<PolledQueue> queues, Doorbell* doorbell, std::uint64_t tsc_hz)
    : wake_set_(queues, doorbell),
      doorbell_(doorbell),
      tsc_per_us_(std::max<std::uint64_t>(tsc_hz / 1'000'000, 1)),
      patience_(kPatienceTime / 1000 * tsc_per_us_) {}

void IdleRest::begin(std::uint64_t tsc) {
  prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);  // nanoseconds; the default is 50 us
  last_frame_ = tsc;
}

void IdleRest::follow(std::span<PolledQueue> queues) {
  wake_set_.follow(queues);
  if (std::exchange(is_listening_, false)) doorbell_->ignore();
}

// Between two calls lies a whole poll, and before each sleep one that looked at everything after it was asked
// for.
void IdleRest::rest(unsigned frames, std::uint64_t tsc, std::chrono::milliseconds longest) {
  if (frames != 0) return get_up();
  patience_ = 0;
  if (is_listening_ && !wake_set_.has_waiting())
    wake_set_.wait(longest);
  else if (is_listening_ && !std::exchange(is_retrying_, true))
    return;  // to poll: they came after the last one
  else if (is_listening_)
    sleep_by_the_clock(tsc);  // there are no buffers for them
  is_retrying_ = false;
  if (doorbell_ != nullptr) doorbell_->listen();
  is_listening_ = wake_set_.ask();  // again: others may be there now
  if (is_listening_) return;
  if (doorbell_ != nullptr) doorbell_->ignore();
  sleep_by_the_clock(tsc);
}

void IdleRest::get_up() {
  patience_ = kPatienceTime / 1000 * tsc_per_us_;
  if (!is_listening_) return;
  doorbell_->ignore();
  wake_set_.refuse();
  is_listening_ = false;
}

void IdleRest::sleep_by_the_clock(std::uint64_t tsc) const {
  const std::uint64_t sleep = sleep_after((tsc - last_frame_) / tsc_per_us_ * 1000);
  const timespec duration{.tv_sec = 0, .tv_nsec = static_cast<long>(sleep)};
  nanosleep(&duration, nullptr);
}

}  // namespace vmnat::dataplane
