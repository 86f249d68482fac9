// SPDX-License-Identifier: Apache-2.0
// Frame sizes as they are asked for, and the IMIX cycle.
#include "bench/generator/frame_mix.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <stdexcept>

namespace vmnat::bench {
namespace {

TEST(FrameMix, ReadsSizesAndImix) {
  EXPECT_EQ(FrameMix::parse("64")->cycle(), std::vector<unsigned>{64});
  EXPECT_EQ(FrameMix::parse("1518")->name(), "1518");
  EXPECT_EQ(FrameMix::parse("IMIX")->name(), "imix");
  for (const char* text : {"", "63", "1519", "64x", "-64", "imix4", "99999999999"})
    EXPECT_FALSE(FrameMix::parse(text)) << text;
  EXPECT_THROW(FrameMix::of_size(63), std::invalid_argument);
}

TEST(FrameMix, ImixIsSevenFourOneAndNeverSendsTwoLargeFramesInARow) {
  const FrameMix mix = FrameMix::imix();
  const auto& cycle = mix.cycle();
  const auto count = [&](unsigned size) { return std::count(cycle.begin(), cycle.end(), size); };
  ASSERT_EQ(cycle.size(), 12u);
  EXPECT_EQ(count(64), 7);
  EXPECT_EQ(count(594), 4);
  EXPECT_EQ(count(1518), 1);
  EXPECT_EQ(mix.largest(), 1518u);
  EXPECT_NEAR(mix.mean(), 361.83, 0.01);
  for (std::size_t i = 0; i < cycle.size(); ++i) {
    const unsigned next = cycle[(i + 1) % cycle.size()];
    EXPECT_FALSE(cycle[i] > 64 && next > 64) << "at " << i;
  }
}

TEST(FrameMix, KnowsItsLengthsWithoutFcs) {
  const FrameMix mix = FrameMix::imix();
  for (const std::size_t length : {60u, 590u, 1514u}) EXPECT_TRUE(mix.has_length(length));
  for (const std::size_t length : {0u, 59u, 64u, 594u, 1518u}) EXPECT_FALSE(mix.has_length(length));
}

TEST(FrameMix, RowsHoldEveryFlowAndWholeCycles) {
  const FrameMix mix = FrameMix::imix();
  EXPECT_EQ(mix.row_length(1), 12u);
  EXPECT_EQ(mix.row_length(12), 12u);
  EXPECT_EQ(mix.row_length(13), 24u);
  EXPECT_EQ(FrameMix::of_size(64).row_length(1000), 1000u);
}

TEST(FrameMix, WireRatesCountPreambleAndGap) {
  EXPECT_NEAR(wire_gbps(FrameMix::of_size(64), 14.88095), 10, 1e-4);  // 10 Gbit/s Ethernet's line rate
  EXPECT_NEAR(wire_gbps(FrameMix::of_size(1518), 0.812744), 10, 1e-4);
}

}  // namespace
}  // namespace vmnat::bench
