// SPDX-License-Identifier: Apache-2.0
#include "control/doctor/watch.h"

#include <gtest/gtest.h>

namespace vmnat::doctor {
namespace {

using std::chrono::seconds;

class WatchTest : public ::testing::Test {
 protected:
  // One look a second later.
  void look(PortSample sample, CommonCounts counts = {}) {
    now_ += seconds{1};
    wall_ += seconds{1};
    watch_.look({std::move(sample)}, counts, now_, wall_);
  }
  LivePort port(const char* name = "vm1") {
    LivePort facts{.name = name};
    watch_.fill(0, facts);
    return facts;
  }
  static PortSample up(std::uint64_t received, std::uint64_t spoofed = 0) {
    return {.name = "vm1",
            .is_up = true,
            .attachment = Attachment::Attached,
            .counts = {.received = received, .spoofed = spoofed}};
  }

  Watch watch_;
  SteadyTime now_{std::chrono::hours{1}};
  Watch::WallTime wall_{std::chrono::hours{500'000}};
};

TEST_F(WatchTest, CountsFromWhenThePortCameUp) {
  look({.name = "vm1", .counts = {.received = 100}});
  look(up(100));
  EXPECT_EQ(port().since_change.received, 0u);
  look(up(107));
  look(up(107));
  EXPECT_TRUE(port().is_up);
  EXPECT_EQ(port().since_change.received, 7u);
  EXPECT_EQ(port().unchanged, seconds{2});
}

TEST_F(WatchTest, BeginsAnewWithAnAttachmentThatChanges) {
  look({.name = "vm1", .attachment = Attachment::Connected});
  look({.name = "vm1", .attachment = Attachment::Connected});
  look({.name = "vm1", .attachment = Attachment::NoMemory});
  EXPECT_EQ(port().attachment, Attachment::NoMemory);
  EXPECT_EQ(port().unchanged, seconds{0});
}

TEST_F(WatchTest, ForgetsWhatWasCountedTwoMinutesAgo) {
  look(up(0));
  look(up(0, 5), {.conflicts = 1, .refused_sessions = 2});
  EXPECT_EQ(port().recent.spoofed, 5u);
  EXPECT_EQ(watch_.recent().conflicts, 1u);
  for (int second = 0; second < 58; ++second) look(up(0, 5), {.conflicts = 1, .refused_sessions = 2});
  EXPECT_EQ(port().recent.spoofed, 5u);
  for (int second = 0; second < 62; ++second) look(up(0, 5), {.conflicts = 1, .refused_sessions = 2});
  EXPECT_EQ(port().recent.spoofed, 0u);
  EXPECT_EQ(watch_.recent().conflicts, 0u);
  EXPECT_EQ(watch_.recent().refused_sessions, 0u);
}

TEST_F(WatchTest, KnowsAPortByItsName) {
  look(up(50, 3));
  look({.name = "vm9", .is_up = true, .counts = {.spoofed = 9}});
  EXPECT_EQ(port("vm9").recent.spoofed, 0u) << "counted for the port that had the number before";
  EXPECT_FALSE(port("vm1").is_up) << "it has left";
}

TEST_F(WatchTest, CountsThatBeginAnewAreNoGrowth) {
  look(up(1000));
  look(up(3));
  EXPECT_EQ(port().since_change.received, 0u);
}

TEST_F(WatchTest, SeesTheWallClockJump) {
  look(up(0));
  look(up(0));
  EXPECT_FALSE(watch_.clock_step());
  wall_ -= std::chrono::hours{2};
  look(up(0));
  look(up(0));
  ASSERT_TRUE(watch_.clock_step());
  EXPECT_EQ(watch_.clock_step()->by, std::chrono::hours{-2});
  EXPECT_EQ(watch_.clock_step()->ago, seconds{1});
}

TEST_F(WatchTest, MindsNoClockThatIsSlewed) {
  look(up(0));
  for (int second = 0; second < 100; ++second) {
    wall_ += std::chrono::milliseconds{400};
    look(up(0));
  }
  EXPECT_FALSE(watch_.clock_step());
}

}  // namespace
}  // namespace vmnat::doctor
