// SPDX-License-Identifier: Apache-2.0
// How a worker rests, on a thread of its own: when nothing wakes it, it sleeps for longer than the test lasts.
#include "dataplane/worker/idle.h"

#include <gtest/gtest.h>
#include <rte_cycles.h>
#include <thread>

namespace vmnat::dataplane {
namespace {

using namespace std::chrono_literals;

TEST(IdleRest, SleepsAnEighthOfTheSilenceAtMostTwoMilliseconds) {
  EXPECT_EQ(IdleRest::sleep_after(100'000), 12'500u);
  EXPECT_EQ(IdleRest::sleep_after(1'000'000), 125'000u);
  EXPECT_EQ(IdleRest::sleep_after(16'000'000), 2'000'000u);
  EXPECT_EQ(IdleRest::sleep_after(4'000'000'000), 2'000'000u);
}

TEST(IdleRest, PollsOnForAHundredMicrosecondsAfterTheLastFrame) {
  Doorbell doorbell;
  IdleRest rest({}, &doorbell, 1'000'000'000);  // a tick is a nanosecond
  rest.begin(5'000);
  EXPECT_FALSE(rest.note_poll(0, 104'999));
  EXPECT_TRUE(rest.note_poll(0, 105'000));
  EXPECT_FALSE(rest.note_poll(1, 105'000));
  EXPECT_FALSE(rest.note_poll(0, 204'999));
  EXPECT_TRUE(rest.note_poll(0, 205'000));
}

TEST(IdleRest, AFrameGetsItUpAndItIsPatientAgain) {
  Doorbell doorbell;
  IdleRest rest({}, &doorbell, 1'000'000'000);
  rest.begin(0);
  ASSERT_TRUE(rest.note_poll(0, 200'000));
  rest.rest(0, 200'000, 0ms);  // asks, and the next poll is the last look
  ASSERT_TRUE(rest.note_poll(1, 201'000));
  rest.rest(1, 201'000, 0ms);
  EXPECT_FALSE(rest.note_poll(0, 300'999));
  EXPECT_TRUE(rest.note_poll(0, 301'000));
}

// A thing at a time for a thread that sleeps as a worker does; each after a while, so that it sleeps.
TEST(IdleRest, IsWokenByWhatIsLeftForItNotByTheClock) {
  Doorbell doorbell;
  std::atomic<unsigned> left{0}, taken{0};
  constexpr unsigned kThings = 300;
  std::thread worker([&] {
    IdleRest rest({}, &doorbell, rte_get_tsc_hz());
    rest.begin(rte_rdtsc());
    while (taken.load(std::memory_order_relaxed) != kThings) {
      const std::uint64_t begin = rte_rdtsc();
      const unsigned found = left.load(std::memory_order_acquire) - taken.load(std::memory_order_relaxed);
      taken.store(taken.load(std::memory_order_relaxed) + found, std::memory_order_release);
      if (rest.note_poll(found, begin)) rest.rest(found, begin, 1h);
    }
  });
  for (unsigned i = 1; i <= kThings; ++i) {
    const std::uint64_t begin = rte_rdtsc();
    while (rte_rdtsc() - begin < rte_get_tsc_hz() / 5000) std::this_thread::yield();  // it has fallen asleep
    left.store(i, std::memory_order_release);
    doorbell.ring();
    while (taken.load(std::memory_order_acquire) != i) std::this_thread::yield();
  }
  worker.join();
}

}  // namespace
}  // namespace vmnat::dataplane
