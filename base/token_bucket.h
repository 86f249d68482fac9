// SPDX-License-Identifier: Apache-2.0
// Token buckets: how often something may be done. Owned by one worker.
//
// So many at once as `burst`, then `per_second`. Example, 1000 and 50: after a pause 50 go at once; the clock
// has 16 ticks a second, so 50 more go after each tick that brings at least as many (62.5).
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/time.h"

namespace vmnat {

// A bucket that is told its numbers at each use, because they may change. It keeps how much has been taken
// and not come back since, so all zeroes is a full bucket.
class DebtBucket {
 public:
  // Whether one more, or `count` at once, may be done now.
  bool take(Time now, std::uint64_t per_second, std::uint64_t burst, std::uint32_t count = 1) {
    debt_ -= std::min(debt_, std::uint64_t{(now - paid_at_).count()} * per_second);
    paid_at_ = now;
    const std::uint64_t taken = count * kOne;
    if (debt_ + taken > burst * kOne) return false;
    debt_ += taken;
    return true;
  }

 private:
  static constexpr std::uint64_t kOne = Clock::period::den;  // a token: one a second is one unit a tick
  std::uint64_t debt_ = 0;
  Time paid_at_{};
};

class TokenBucket {
 public:
  constexpr TokenBucket(std::uint32_t per_second, std::uint32_t burst)
      : per_second_(per_second), burst_(burst) {}

  bool take(Time now, std::uint32_t count = 1) { return bucket_.take(now, per_second_, burst_, count); }
  // As much as the other one from now on. What has been taken stays taken.
  void resize_to(const TokenBucket& other) {
    per_second_ = other.per_second_;
    burst_ = other.burst_;
  }

 private:
  std::uint32_t per_second_;
  std::uint32_t burst_;
  DebtBucket bucket_;
};

}  // namespace vmnat
