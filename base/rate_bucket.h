// SPDX-License-Identifier: Apache-2.0
// RateBucket: how much may pass at a rate, exactly, whichever of several threads asks.
//
// `burst` at once after a pause, then `per_second`: of bytes, or of packets. The bucket keeps one number, what has been
// taken, and holds it against what the rate has brought since the bucket was made:
//
//   balance = burst - (taken - brought)     taken is never below brought: a pause saves up one burst, and no more
//
// So nothing is lost to rounding, however often or seldom it is asked. Example, 1000 a second and a burst of 100:
// after a pause 100 go at once, after 50 ms 50 more.
//
// Frames are taken whole. While there is a balance one more may be taken; what that is too much is a debt, which the
// rate pays first. In any time T, burst + rate * T and one such excess a thread pass at most.
//
// Threads: any. The clock is whoever's asks, the same for all.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace vmnat {

class RateBucket {
 public:
  struct Rate {
    std::uint64_t per_second = 0;
    std::uint64_t burst = 0;  // less than 2^62
    bool operator==(const Rate&) const = default;
  };

  // Full, by a clock that has `hz` ticks a second and stands at `start`.
  constexpr RateBucket(Rate rate, std::uint64_t hz, std::uint64_t start) : rate_(rate), start_(start) {
    while ((Wide{rate.per_second} << shift_) / hz >> 63 != 0) --shift_;
    per_tick_ = static_cast<std::uint64_t>((Wide{rate.per_second} << shift_) / hz);
  }

  [[nodiscard]] const Rate& rate() const { return rate_; }
  // What is left; negative: a debt.
  [[nodiscard]] std::int64_t balance(std::uint64_t now) const {
    const std::uint64_t brought = brought_by(now), taken = taken_.load(std::memory_order_relaxed);
    return static_cast<std::int64_t>(rate_.burst) -
           static_cast<std::int64_t>(taken - std::min(taken, brought));
  }
  // Takes it, whether it is there or not.
  void charge(std::uint64_t now, std::uint64_t amount) {
    const std::uint64_t brought = brought_by(now);
    std::uint64_t taken = taken_.load(std::memory_order_relaxed);
    // One number, which orders nothing else.
    while (
        !taken_.compare_exchange_weak(taken, std::max(taken, brought) + amount, std::memory_order_relaxed)) {
    }
  }

 private:
  __extension__ using Wide = unsigned __int128;

  [[nodiscard]] std::uint64_t brought_by(std::uint64_t now) const {
    const std::uint64_t ticks = now - std::min(now, start_);  // another CPU's clock may be a little behind
    return static_cast<std::uint64_t>(Wide{ticks} * per_tick_ >> shift_);
  }

  Rate rate_;
  std::uint64_t start_;
  unsigned shift_ = 64;
  std::uint64_t per_tick_;  // 2^-shift: as exact as 63 bits are
  std::atomic<std::uint64_t> taken_{0};
};

}  // namespace vmnat
