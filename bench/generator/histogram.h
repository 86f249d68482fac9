// SPDX-License-Identifier: Apache-2.0
// Histogram of 32-bit values (ticks), as HdrHistogram does it: exact below 128, then 64 buckets for each
// doubling.
//
// Adding is two shifts and an increment, memory is constant (14 kB), every quantile is right to 1/64 of its
// value, and smallest and largest value are exact.
//
//   130 and 131 share a bucket: at(q) answers 131, the largest value that it may hold
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace vmnat::bench {

class Histogram {
 public:
  void add(std::uint32_t value) {
    ++counts_[bucket_of(value)];
    ++count_;
    sum_ += value;
    if (value < smallest_) smallest_ = value;
    if (value > largest_) largest_ = value;
  }
  void add(const Histogram& other);

  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint32_t smallest() const { return count_ == 0 ? 0 : smallest_; }
  [[nodiscard]] std::uint32_t largest() const { return largest_; }
  [[nodiscard]] double mean() const {
    return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
  }
  // The smallest value that at least the share `quantile` of all values does not exceed; 0 when there are
  // none.
  [[nodiscard]] std::uint32_t at(double quantile) const;

 private:
  static constexpr unsigned kHalf = 64;  // buckets a doubling
  static constexpr unsigned kHalfBits = 6;
  static constexpr std::size_t kBuckets = (32 - kHalfBits - 1) * kHalf + 2 * kHalf;

  static constexpr unsigned shift_of(std::uint32_t value) {
    const unsigned width = static_cast<unsigned>(std::bit_width(value));
    return width > kHalfBits + 1 ? width - kHalfBits - 1 : 0;
  }
  static constexpr std::size_t bucket_of(std::uint32_t value) {
    const unsigned shift = shift_of(value);
    return std::size_t{shift} * kHalf + (value >> shift);
  }
  static constexpr std::uint32_t largest_in(std::size_t bucket) {
    if (bucket < 2 * kHalf) return static_cast<std::uint32_t>(bucket);
    const std::size_t shift = bucket / kHalf - 1;
    return static_cast<std::uint32_t>(((bucket - shift * kHalf + 1) << shift) - 1);
  }

  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
  std::uint32_t smallest_ = ~std::uint32_t{0};
  std::uint32_t largest_ = 0;
};

}  // namespace vmnat::bench
