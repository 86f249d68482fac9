// SPDX-License-Identifier: Apache-2.0
// Where a network is to be, by what is seen of three uplinks and by a clock that the test owns.
#include "control/uplink/failover.h"

#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

using namespace std::chrono_literals;
using enum UplinkTrouble;

constexpr PortIndex kWan1 = 0, kWan2 = 1, kWan3 = 2;

class Failover : public testing::Test {
 protected:
  void wait(std::chrono::milliseconds time) { now += time; }
  void all_are_usable() {
    for (const PortIndex uplink : {kWan1, kWan2, kWan3}) failover.note(uplink, None, now);
  }
  // A network that is at `current`, and goes where it is told.
  PortIndex go(PortIndex preferred) { return current = failover.choose(preferred, current, now); }

  SteadyTime now{1000s};
  UplinkFailover failover{3, now};
  PortIndex current = kWan1;
};

TEST_F(Failover, ANetworkIsOnTheUplinkThatItPrefers) {
  all_are_usable();
  EXPECT_EQ(go(kWan1), kWan1);
  current = kWan2;
  EXPECT_EQ(go(kWan2), kWan2);
}

TEST_F(Failover, ADeadOneIsLeftAtOnceForTheFirstThatCanBeUsed) {
  all_are_usable();
  for (const UplinkTrouble trouble : {NoLink, NoAddress, SilentGateway, SilentProbe}) {
    current = kWan1;
    failover.note(kWan1, trouble, now);
    EXPECT_EQ(go(kWan1), kWan2);
    EXPECT_TRUE(failover.is_dead(kWan1, now));
  }
  current = kWan3;
  failover.note(kWan3, NoLink, now);
  EXPECT_EQ(go(kWan3), kWan2) << "wan1 is dead, too";
}

TEST_F(Failover, ItGoesBackWhenItsOwnHasBeenUsableForTenSeconds) {
  all_are_usable();
  failover.note(kWan1, SilentProbe, now);
  EXPECT_EQ(go(kWan1), kWan2);
  failover.note(kWan1, None, now);
  wait(9999ms);
  EXPECT_EQ(go(kWan1), kWan2);
  wait(1ms);
  EXPECT_EQ(go(kWan1), kWan1);
}

TEST_F(Failover, ALinkThatComesAndGoesIsNotGoneBackTo) {
  all_are_usable();
  failover.note(kWan1, NoLink, now);
  go(kWan1);
  for (int turn = 0; turn < 20; ++turn) {
    failover.note(kWan1, turn % 2 == 0 ? None : NoLink, now);
    wait(6s);
    EXPECT_EQ(go(kWan1), kWan2) << turn;
  }
}

TEST_F(Failover, OfTheOthersAnEarlierOneTakesOverAfterTheHoldTime) {
  all_are_usable();
  failover.note(kWan1, NoLink, now);
  failover.note(kWan2, NoLink, now);
  EXPECT_EQ(go(kWan1), kWan3);
  failover.note(kWan2, None, now);
  EXPECT_EQ(go(kWan1), kWan3);
  wait(10s);
  EXPECT_EQ(go(kWan1), kWan2);
}

TEST_F(Failover, WhoseUplinkIsDeadDoesNotWaitForTheHoldTime) {
  all_are_usable();
  failover.note(kWan1, NoLink, now);
  failover.note(kWan2, NoLink, now);
  go(kWan1);
  failover.note(kWan2, None, now);
  failover.note(kWan3, NoLink, now);
  EXPECT_EQ(go(kWan1), kWan2);
}

TEST_F(Failover, IfNoneCanBeUsedANetworkStays) {
  all_are_usable();
  for (const PortIndex uplink : {kWan1, kWan2, kWan3}) failover.note(uplink, NoLink, now);
  for (const PortIndex uplink : {kWan1, kWan2, kWan3}) {
    current = uplink;
    EXPECT_EQ(go(kWan2), uplink);
  }
}

TEST_F(Failover, AtAStartAnUplinkHasTenSecondsToBegin) {
  failover.note(kWan2, None, now);
  failover.note(kWan1, NoAddress, now);
  wait(9s);
  EXPECT_EQ(go(kWan1), kWan1) << "its lease may come";
  EXPECT_FALSE(failover.is_dead(kWan1, now));
  wait(1s);
  EXPECT_EQ(go(kWan1), kWan2);
  EXPECT_TRUE(failover.is_dead(kWan1, now));
}

TEST_F(Failover, OneThatHasBegunIsLeftAtOnceEvenAtAStart) {
  all_are_usable();
  wait(1s);
  failover.note(kWan1, NoLink, now);
  EXPECT_EQ(go(kWan1), kWan2);
}

TEST_F(Failover, TellsWhetherWhatItHasHeardChangesAnything) {
  EXPECT_TRUE(failover.note(kWan1, None, now));
  EXPECT_FALSE(failover.note(kWan1, None, now));
  EXPECT_TRUE(failover.note(kWan1, NoLink, now));
  EXPECT_FALSE(failover.note(kWan1, SilentGateway, now));
  EXPECT_EQ(failover.trouble(kWan1), SilentGateway);
}

}  // namespace
}  // namespace vmnat::control
