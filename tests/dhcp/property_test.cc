// SPDX-License-Identifier: Apache-2.0
// Random histories of clients against the model in scenario.h: seeds are fixed, so a failure is repeated by
// running the test again.
#include <gtest/gtest.h>
#include <random>

#include "tests/dhcp/scenario.h"

namespace vmnat::dhcp::test {
namespace {

TEST(DhcpProperty, NoAddressIsEverHeldByTwoClientsOrGivenOutOfTurn) {
  std::uint64_t acks = 0;
  for (unsigned seed = 0; seed < 150; ++seed) {
    std::mt19937 random{seed};
    unsigned left = 2000;
    Scenario scenario{[&] { return static_cast<std::uint8_t>(random()); }, [&] { return left-- > 0; }};
    ASSERT_EQ(scenario.play(), "") << "seed " << seed << ", " << left << " steps before the end";
    acks += scenario.acks();
  }
  EXPECT_GT(acks, 10'000u);  // the scenario does reach what it is about
}

}  // namespace
}  // namespace vmnat::dhcp::test
