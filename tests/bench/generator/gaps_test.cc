// SPDX-License-Identifier: Apache-2.0
// A gap is time in which the generator looked and nothing was there.
#include "bench/generator/gaps.h"

#include <gtest/gtest.h>

namespace vmnat::bench {
namespace {

constexpr Gaps::Limits kLimits{.longest_turn = 50, .long_gap = 1000};

// Looks every `turn` ticks until `end`, and finds nothing.
void look_in_vain(Gaps& gaps, std::uint64_t& now, std::uint64_t end, std::uint64_t turn = 10) {
  while (now < end) gaps.look(now += turn, false);
}

TEST(Gaps, AreFromFrameToFrame) {
  Gaps gaps(kLimits, 0);
  gaps.look(10, true);
  gaps.look(30, false);
  gaps.look(70, true);
  gaps.look(90, true);
  EXPECT_EQ(gaps.longest(), 60u);
  EXPECT_EQ(gaps.long_gaps(), 0u);
  EXPECT_EQ(gaps.longest_absence(), 0u);
}

TEST(Gaps, CountThoseThatAreLong) {
  Gaps gaps(kLimits, 0);
  std::uint64_t now = 0;
  for (const std::uint64_t length : {1000, 1010, 500, 2000}) {
    look_in_vain(gaps, now, now + length - 10);
    gaps.look(now += 10, true);
  }
  EXPECT_EQ(gaps.long_gaps(), 2u);
  EXPECT_EQ(gaps.longest(), 2000u);
}

TEST(Gaps, LeaveOutWhenTheGeneratorWasAway) {
  Gaps gaps(kLimits, 100);
  gaps.look(130, false);
  gaps.look(160, false);
  gaps.look(900, false);
  gaps.look(920, true);
  EXPECT_EQ(gaps.longest(), 130u);
  EXPECT_EQ(gaps.longest_absence(), 690u);
}

TEST(Gaps, AreThereBeforeTheyEnd) {
  Gaps gaps(kLimits, 0);
  std::uint64_t now = 0;
  look_in_vain(gaps, now, 5000);
  EXPECT_EQ(gaps.longest(), 5000u);
  EXPECT_EQ(gaps.long_gaps(), 1u);
  gaps.look(now += 10, true);
  EXPECT_EQ(gaps.longest(), 5010u);
  EXPECT_EQ(gaps.long_gaps(), 1u);
}

}  // namespace
}  // namespace vmnat::bench
