// SPDX-License-Identifier: Apache-2.0
// The pacer keeps its rate, gives up what waits too long, and does not blame the device for its own absence.
#include "bench/generator/pacer.h"

#include <gtest/gtest.h>
#include <random>

namespace vmnat::bench {
namespace {

constexpr Pacer::Limits kLimits{.longest_gap = 100, .patience = 1000};

TEST(Pacer, KeepsItsRateHoweverOftenItIsAsked) {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::uint64_t> turn(1, 100);
  Pacer pacer(0.37, kLimits, 5000);
  std::uint64_t now = 5000, sent = 0;
  while (now < 1'005'000) {
    now += turn(random);
    const std::uint64_t due = pacer.due(now);
    EXPECT_LE(due, 38u);  // what 100 ticks make
    pacer.took(due);
    sent += due;
  }
  EXPECT_EQ(sent, static_cast<std::uint64_t>(static_cast<double>(now - 5000) * 0.37));
  EXPECT_EQ(pacer.offered(), sent);
  EXPECT_EQ(pacer.given_up(), 0u);
}

TEST(Pacer, AsksAgainForFramesThatTheRingDidNotTake) {
  Pacer pacer(1, kLimits, 0);
  EXPECT_EQ(pacer.due(50), 50u);
  pacer.took(20);
  EXPECT_EQ(pacer.waiting(), 30u);
  EXPECT_EQ(pacer.due(60), 40u);
  EXPECT_EQ(pacer.given_up(), 0u);
}

TEST(Pacer, GivesUpWhatWaitsLongerThanItsPatience) {
  Pacer pacer(1, kLimits, 0);
  for (std::uint64_t now = 100; now <= 3000; now += 100) pacer.due(now);
  EXPECT_EQ(pacer.waiting(), 1000u);
  EXPECT_EQ(pacer.given_up(), 2000u);
  EXPECT_EQ(pacer.offered(), 3000u);
}

TEST(Pacer, MovesOnWhenTheGeneratorWasAway) {
  Pacer pacer(1, kLimits, 0);
  pacer.took(pacer.due(100));
  EXPECT_EQ(pacer.due(1'000'100), 100u);  // the longest gap's worth, not a million
  EXPECT_EQ(pacer.given_up(), 0u);
  EXPECT_EQ(pacer.offered(), 200u);
}

TEST(Pacer, LetsOneFrameWaitAtTheLowestRates) {
  Pacer pacer(0.0001, kLimits, 0);
  for (std::uint64_t now = 0; now <= 15'000; now += 50) pacer.due(now);
  EXPECT_EQ(pacer.waiting(), 1u);
  EXPECT_EQ(pacer.given_up(), 0u);
}

}  // namespace
}  // namespace vmnat::bench
