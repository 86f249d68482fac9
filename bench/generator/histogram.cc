// SPDX-License-Identifier: Apache-2.0
// What is asked once a run.
#include "bench/generator/histogram.h"

#include <algorithm>
#include <cmath>

namespace vmnat::bench {

void Histogram::add(const Histogram& other) {
  for (std::size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  smallest_ = std::min(smallest_, other.smallest_);
  largest_ = std::max(largest_, other.largest_);
}

std::uint32_t Histogram::at(double quantile) const {
  static_assert(bucket_of(127) == 127 && bucket_of(128) == 128 && bucket_of(130) == bucket_of(131));
  static_assert(largest_in(bucket_of(130)) == 131 && largest_in(kBuckets - 1) == ~std::uint32_t{0});
  static_assert(bucket_of(~std::uint32_t{0}) == kBuckets - 1);
  if (count_ == 0) return 0;
  const auto wanted = std::max<std::uint64_t>(
      1, static_cast<std::uint64_t>(std::ceil(quantile * static_cast<double>(count_))));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= wanted) return std::clamp(largest_in(i), smallest_, largest_);
  }
  return largest_;
}

}  // namespace vmnat::bench
