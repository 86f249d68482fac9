// SPDX-License-Identifier: Apache-2.0
// The search finds what simulated devices carry: exact ones, noisy ones, and those that never or always lose.
#include "bench/generator/search.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>

namespace vmnat::bench {
namespace {

constexpr LoadRange kRange{.lowest = 0.01, .highest = 15, .first_guess = 5.2};

// Forwards up to `capacity`, loses the rest.
Trial ideal_device(double load, double capacity) {
  const double forwarded = std::min(load, capacity);
  return {.load = load, .loss_ratio = (load - forwarded) / load, .forwarded = forwarded};
}

class Capacity : public testing::TestWithParam<double> {};
INSTANTIATE_TEST_SUITE_P(Mpps, Capacity, testing::Values(0.02, 0.5, 3.3, 5.0, 5.19, 5.3, 9.0, 14.9));

TEST_P(Capacity, IsFoundToWithinTheWidthFromBelow) {
  RateSearch search([](double load) { return ideal_device(load, GetParam()); }, kRange);
  const Throughput found = search.find(kNdr);
  EXPECT_LE(found.load, GetParam());
  EXPECT_GT(found.upper, GetParam());
  EXPECT_LE(found.upper - found.load, kNdr.width * found.upper);
  EXPECT_EQ(found.forwarded, found.load);
  EXPECT_FALSE(found.is_range_exhausted);
  EXPECT_LT(search.trials().size(), 60u);
}

TEST_P(Capacity, GivesPdrTheLossThatItMayHave) {
  RateSearch search([](double load) { return ideal_device(load, GetParam()); }, kRange);
  const Throughput ndr = search.find(kNdr);
  const Throughput pdr = search.find(kPdr);
  // 0.5 % of the load may be lost: the load may be capacity / 0.995.
  EXPECT_LE(pdr.load, GetParam() / 0.995);
  EXPECT_GE(pdr.load, GetParam() / 0.995 * (1 - kPdr.width));
  EXPECT_GE(pdr.load, ndr.load);
}

TEST(RateSearch, UsesTheTrialsOfOneGoalForTheOther) {
  const auto device = [](double load) { return ideal_device(load, 5); };
  RateSearch both(device, kRange);
  both.find(kNdr);
  both.find(kPdr);
  RateSearch first(device, kRange), second(device, kRange);
  first.find(kNdr);
  second.find(kPdr);
  EXPECT_LT(both.trials().size(), first.trials().size() + second.trials().size());
}

TEST(RateSearch, SaysWhenTheHighestLoadIsCarried) {
  RateSearch search([](double load) { return ideal_device(load, 100); }, kRange);
  const Throughput found = search.find(kNdr);
  EXPECT_EQ(found.load, kRange.highest);
  EXPECT_TRUE(found.is_range_exhausted);
}

TEST(RateSearch, SaysWhenEvenTheLowestLoadIsLost) {
  RateSearch search([](double load) { return Trial{load, 0.9, load / 10}; }, kRange);
  const Throughput found = search.find(kPdr);
  EXPECT_EQ(found.load, 0);
  EXPECT_EQ(found.forwarded, 0);
  EXPECT_TRUE(found.is_range_exhausted);
  EXPECT_LT(search.trials().size(), 60u);
}

TEST(RateSearch, IsNotMisledByOneBadTrialAtALoad) {
  // Every third trial loses frames whatever the load is: two of three decide.
  unsigned trial = 0;
  RateSearch search(
      [&](double load) {
        Trial result = ideal_device(load, 5);
        if (++trial % 3 == 0) result.loss_ratio += 1e-4;
        return result;
      },
      kRange);
  const Throughput found = search.find(kNdr);
  EXPECT_LE(found.load, 5);
  EXPECT_GE(found.load, 5 * (1 - kNdr.width));
}

TEST(RateSearch, EndsNearTheCapacityOfADeviceThatWavers) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> capacity(5, 0.05);  // 1 % from trial to trial
    RateSearch search([&](double load) { return ideal_device(load, capacity(random)); }, kRange);
    const Throughput found = search.find(kPdr);
    EXPECT_NEAR(found.load, 5, 0.25) << "seed " << seed;
    EXPECT_LT(search.trials().size(), 120u) << "seed " << seed;
  }
}

TEST(RateSearch, EndsWhenNoTwoTrialsAgree) {
  std::mt19937 random(1);
  std::bernoulli_distribution loses(0.5);
  RateSearch search([&](double load) { return Trial{load, loses(random) ? 0.5 : 0, load}; }, kRange);
  const Throughput found = search.find(kNdr);
  EXPECT_LE(found.load, kRange.highest);
  EXPECT_LT(search.trials().size(), 200u);
}

TEST(RateSearch, AsksForNoMoreTrialsThanDecide) {
  RateSearch search([](double load) { return ideal_device(load, 5); }, kRange);
  search.find(kNdr);
  for (const Trial& trial : search.trials()) {
    const auto same = std::count_if(search.trials().begin(), search.trials().end(),
                                    [&](const Trial& other) { return other.load == trial.load; });
    EXPECT_EQ(same, 2) << trial.load;  // of three: two that agree
  }
}

}  // namespace
}  // namespace vmnat::bench
