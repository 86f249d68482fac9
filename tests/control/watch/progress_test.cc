// SPDX-License-Identifier: Apache-2.0
#include "control/watch/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr SteadyTime kStart{1000s};

TEST(ProgressWatch, LetsWorkersGoOnThatPollHoweverOftenItLooks) {
  ProgressWatch watch;
  std::uint64_t polls = 0;
  for (SteadyTime now = kStart; now < kStart + 10s; now += 100ms) {
    if (now.time_since_epoch() % 1s == 0s) ++polls;  // a poll a second, at most
    const auto progress = watch.look({polls, 7 * polls}, now);
    EXPECT_TRUE(progress.all_go_on);
    EXPECT_THAT(progress.news, IsEmpty());
  }
}

TEST(ProgressWatch, FindsOneOfSeveralThatStandsStillAndSaysSoOnce) {
  ProgressWatch watch;
  EXPECT_TRUE(watch.look({5, 5}, kStart).all_go_on);
  EXPECT_TRUE(watch.look({6, 5}, kStart + 1s).all_go_on);
  EXPECT_TRUE(watch.look({7, 5}, kStart + 1999ms).all_go_on);
  const auto stuck = watch.look({8, 5}, kStart + 2s);
  EXPECT_FALSE(stuck.all_go_on);
  EXPECT_THAT(stuck.news, ElementsAre("worker 1 stands still: it has finished no poll for 2 s"));
  const auto still_stuck = watch.look({9, 5}, kStart + 3s);
  EXPECT_FALSE(still_stuck.all_go_on);
  EXPECT_THAT(still_stuck.news, IsEmpty());
}

TEST(ProgressWatch, SaysWhenAWorkerGoesOnAgain) {
  ProgressWatch watch;
  watch.look({5}, kStart);
  EXPECT_FALSE(watch.look({5}, kStart + 4s).all_go_on);
  const auto progress = watch.look({6}, kStart + 5s);
  EXPECT_TRUE(progress.all_go_on);
  EXPECT_THAT(progress.news, ElementsAre("worker 0 goes on, after 5 s"));
  EXPECT_TRUE(watch.look({6}, kStart + 6s).all_go_on);
}

TEST(ProgressWatch, GivesAWorkerThatIsNewItsTime) {
  ProgressWatch watch;
  watch.look({1}, kStart);
  EXPECT_TRUE(watch.look({2, 0}, kStart + 5s).all_go_on);
  EXPECT_FALSE(watch.look({3, 0}, kStart + 7s).all_go_on);
}

TEST(ProgressWatch, LooksTwiceInTheWatchdogsTimeAndOnceASecondAtLeast) {
  EXPECT_EQ(pause_between_looks(0s), 1s);
  EXPECT_EQ(pause_between_looks(20s), 1s);
  EXPECT_EQ(pause_between_looks(500ms), 250ms);
}

}  // namespace
}  // namespace vmnat::control
