// SPDX-License-Identifier: Apache-2.0
// No wake-up is lost. Built a second time with ThreadSanitizer (doorbell_tsan_test).
#include "dataplane/device/doorbell.h"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/epoll.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace vmnat::dataplane {
namespace {

// Waits as a worker does: edge-triggered, without reading.
class Bed {
 public:
  explicit Bed(const Doorbell& doorbell) : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
    EXPECT_EQ(epoll_ctl(epoll_, EPOLL_CTL_ADD, doorbell.descriptor(), &event), 0);
  }
  ~Bed() { close(epoll_); }
  Bed(const Bed&) = delete;
  Bed& operator=(const Bed&) = delete;
  bool sleep(int longest_ms) const {
    epoll_event event{};
    return epoll_wait(epoll_, &event, 1, longest_ms) == 1;
  }

 private:
  int epoll_;
};

TEST(Doorbell, RingsOnlyForWhoListensAndOnlyOnce) {
  Doorbell doorbell;
  const Bed bed(doorbell);
  doorbell.ring();
  EXPECT_FALSE(bed.sleep(0));
  doorbell.listen();
  EXPECT_FALSE(bed.sleep(0));
  doorbell.ring();
  doorbell.ring();
  EXPECT_TRUE(bed.sleep(0));
  EXPECT_FALSE(bed.sleep(0));
  doorbell.ring();  // nobody listens any more
  EXPECT_FALSE(bed.sleep(0));
}

TEST(Doorbell, RingsAgainThoughNobodyHasReadTheDescriptor) {
  Doorbell doorbell;
  const Bed bed(doorbell);
  for (unsigned i = 0; i < 3; ++i) {
    doorbell.listen();
    doorbell.ring();
    EXPECT_TRUE(bed.sleep(0));
  }
  doorbell.listen();
  doorbell.ignore();
  doorbell.ring();
  EXPECT_FALSE(bed.sleep(0));
}

// The scheduler puts who is woken beside who woke it, where the two never race.
void go_to_cpu(unsigned number) {
  cpu_set_t allowed, one;
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  number %= static_cast<unsigned>(CPU_COUNT(&allowed));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed) && number-- == 0) CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof one, &one);
}

// Threads leave one thing after another, each when its last one was taken, at once or a little later; the
// sleeper sleeps whenever it finds nothing. A wake-up that is lost leaves all of them waiting. Where other work
// keeps the CPUs, 5 s are enough.
class DoorbellOfSeveral : public ::testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Ringers, DoorbellOfSeveral, ::testing::Values(1, 2));

TEST_P(DoorbellOfSeveral, LosesNoWakeUp) {
  constexpr unsigned kThings = 200'000;
  constexpr int kForEver = 60'000;  // ms
  Doorbell doorbell;
  const Bed bed(doorbell);
  struct alignas(kCacheLineSize) Ringer {
    std::atomic<unsigned> left{0}, taken{0};
    std::thread thread;
  };
  std::vector<Ringer> ringers(GetParam());
  std::atomic<bool> stop{false};
  for (Ringer& ringer : ringers)
    ringer.thread = std::thread([&] {
      go_to_cpu(1);
      for (unsigned i = 1; i <= kThings && !stop; ++i) {
        ringer.left.store(i, std::memory_order_release);
        doorbell.ring();
        for (unsigned looks = 0; ringer.taken.load(std::memory_order_acquire) != i && !stop; ++looks)
          if (looks > 50000) std::this_thread::yield();
        for (volatile unsigned pause = i % 64; pause > 0;) pause = pause - 1;
      }
    });
  cpu_set_t before_test;
  sched_getaffinity(0, sizeof before_test, &before_test);
  go_to_cpu(0);
  unsigned sleeps = 0;
  std::size_t all = 0;
  bool is_lost = false;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (all < kThings * ringers.size() && !is_lost && std::chrono::steady_clock::now() < end) {
    for (volatile std::size_t pause = all % 97; pause > 0;) pause = pause - 1;
    doorbell.listen();
    const std::size_t before = all;
    for (Ringer& ringer : ringers) {
      const unsigned thing = ringer.left.load(std::memory_order_acquire);
      if (thing == ringer.taken.load(std::memory_order_relaxed)) continue;
      ringer.taken.store(thing, std::memory_order_release);
      ++all;
    }
    if (all != before) continue;
    ++sleeps;
    is_lost = !bed.sleep(kForEver);
  }
  stop = true;
  for (Ringer& ringer : ringers) ringer.thread.join();
  sched_setaffinity(0, sizeof before_test, &before_test);
  EXPECT_FALSE(is_lost) << "after " << sleeps << " sleeps, " << all << " things";
  RecordProperty("sleeps", static_cast<int>(sleeps));
}

}  // namespace
}  // namespace vmnat::dataplane
