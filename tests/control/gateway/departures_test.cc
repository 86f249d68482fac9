// SPDX-License-Identifier: Apache-2.0
// When the numbers of who has left are given to others. There are no workers: nothing holds their polls up, and no
// session has to be ended.
#include "control/gateway/departures.h"

#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

struct DeparturesTest : testing::Test {
  DeparturesTest() {
    for (const char* name : {"uplink", "vm1", "vm2"}) numbers.ports.give(name);
    numbers.networks.give("red");
  }
  void leave(const std::string& port, PortIndex number) {
    numbers.ports.retire(port);
    departures.add({.ports = {number}, .sessions = {{.port = number}}});
  }
  Numbers numbers;
  Workers workers;
  FlushTurns turns;
  Departures departures{numbers, workers, turns};
  SteadyTime now{std::chrono::hours(1)};
};

TEST_F(DeparturesTest, ANumberRestsAfterItsSessionsHaveEndedAndIsFreeThen) {
  leave("vm1", 1);
  departures.advance(now);
  departures.advance(now + Departures::kRest - std::chrono::milliseconds(1));
  EXPECT_EQ(numbers.ports.give("vm3"), 3);
  departures.advance(now + Departures::kRest);  // it has rested
  departures.advance(now + Departures::kRest);  // and sessions that were opened meanwhile have ended
  EXPECT_EQ(departures.under_way(), 0u);
  EXPECT_EQ(numbers.ports.give("vm4"), 1);
}

TEST_F(DeparturesTest, NobodyWaitsForAnother) {
  leave("vm1", 1);
  departures.advance(now);
  leave("vm2", 2);
  for (unsigned i = 0; i < 2; ++i) departures.advance(now + Departures::kRest);
  EXPECT_EQ(departures.under_way(), 1u);
  EXPECT_EQ(numbers.ports.give("vm3"), 1);
  for (unsigned i = 0; i < 2; ++i) departures.advance(now + 2 * Departures::kRest);
  EXPECT_EQ(numbers.ports.give("vm4"), 2);
}

TEST_F(DeparturesTest, NothingRestsWhereOnlySessionsEnd) {
  departures.add({.sessions = {{.policy = 0}}});
  EXPECT_EQ(departures.under_way(), 1u);
  departures.advance(now);
  EXPECT_EQ(departures.under_way(), 0u);
}

TEST_F(DeparturesTest, AFlushOfAnOperatorHasItsTurnFirst) {
  const auto turn = turns.take();
  leave("vm1", 1);
  for (unsigned i = 0; i < 4; ++i) departures.advance(now + i * Departures::kRest);
  EXPECT_EQ(departures.under_way(), 1u);
}

}  // namespace
}  // namespace vmnat::control
