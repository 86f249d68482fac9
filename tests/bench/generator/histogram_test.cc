// SPDX-License-Identifier: Apache-2.0
// Quantiles of the histogram against those of the sorted values.
#include "bench/generator/histogram.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace vmnat::bench {
namespace {

constexpr double kQuantiles[] = {0, 0.001, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};

TEST(Histogram, AnswersZeroWhenEmpty) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.at(0.5), 0u);
  EXPECT_EQ(histogram.smallest(), 0u);
  EXPECT_EQ(histogram.largest(), 0u);
}

TEST(Histogram, IsExactForSmallValues) {
  Histogram histogram;
  for (std::uint32_t value = 0; value < 100; ++value) histogram.add(value);
  EXPECT_EQ(histogram.at(0.01), 0u);
  EXPECT_EQ(histogram.at(0.5), 49u);
  EXPECT_EQ(histogram.at(0.99), 98u);
  EXPECT_EQ(histogram.at(1), 99u);
  EXPECT_DOUBLE_EQ(histogram.mean(), 49.5);
}

TEST(Histogram, IsRightToOneSixtyFourthOverTheWholeRange) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> exponent(0, 32);
  std::vector<std::uint32_t> values;
  Histogram histogram;
  for (unsigned i = 0; i < 100'000; ++i) {
    values.push_back(static_cast<std::uint32_t>(std::exp2(exponent(random)) - 1));
    histogram.add(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double quantile : kQuantiles) {
    const auto rank = static_cast<std::size_t>(std::ceil(quantile * static_cast<double>(values.size())));
    const double exact = values[std::max<std::size_t>(rank, 1) - 1];
    EXPECT_GE(histogram.at(quantile), exact) << quantile;
    EXPECT_LE(histogram.at(quantile), exact * (1 + 1.0 / 64)) << quantile;
  }
  EXPECT_EQ(histogram.smallest(), values.front());
  EXPECT_EQ(histogram.largest(), values.back());
}

TEST(Histogram, HoldsTheLargestValueThereIs) {
  Histogram histogram;
  histogram.add(~std::uint32_t{0});
  EXPECT_EQ(histogram.at(0.5), ~std::uint32_t{0});
}

TEST(Histogram, AddsUpToWhatOneHistogramOfAllValuesIs) {
  Histogram first, second, all;
  for (std::uint32_t value = 1; value < 50'000; value += 7) {
    (value % 2 == 0 ? first : second).add(value);
    all.add(value);
  }
  first.add(second);
  EXPECT_EQ(first.count(), all.count());
  EXPECT_EQ(first.mean(), all.mean());
  for (const double quantile : kQuantiles) EXPECT_EQ(first.at(quantile), all.at(quantile));
}

}  // namespace
}  // namespace vmnat::bench
