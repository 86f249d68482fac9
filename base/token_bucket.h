// SPDX-License-Identifier: Apache-2.0
// TokenBucket: bounds how often something may be done. Owned by one worker.
//
// So many at once as `burst`, then `per_second`. Example, 1000 and 50: after a pause 50 go at once; the clock
// has 16 ticks a second, so 50 more go after each tick that brings at least as many (62.5).
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace vmnat {

class TokenBucket {
 public:
  constexpr TokenBucket(std::uint32_t per_second, std::uint32_t burst)
      : per_second_(per_second), full_(burst * kOne), filled_(full_) {}

  // True when one more, or so many at once, may be done now.
  bool take(Time now, std::uint32_t count = 1) {
    const std::uint64_t gained = std::uint64_t{(now - refilled_).count()} * per_second_;
    refilled_ = now;
    filled_ = std::min(full_, filled_ + gained);
    const std::uint64_t taken = count * kOne;
    if (filled_ < taken) return false;
    filled_ -= taken;
    return true;
  }

 private:
  static constexpr std::uint64_t kOne = Clock::period::den;  // a token, in what a tick brings of it
  std::uint32_t per_second_;
  std::uint64_t full_;
  std::uint64_t filled_;
  Time refilled_{};
};

}  // namespace vmnat
