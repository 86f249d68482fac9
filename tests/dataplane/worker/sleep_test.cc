// SPDX-License-Identifier: Apache-2.0
// Whole workers on threads of their own: each thing that another thread leaves for one that sleeps wakes it at
// once. Without that it would be found when the worker looks by itself, after 62 ms.
#include <algorithm>
#include <chrono>
#include <gtest/gtest.h>
#include <memory>
#include <sys/eventfd.h>
#include <thread>

#include "tests/support/guest_vms.h"

namespace vmnat::test {
namespace {

using namespace std::chrono_literals;
using dataplane::VhostPort;
using Clock = std::chrono::steady_clock;

constexpr Clock::duration kAtOnce =
    30ms;  // no bound of the worker's, but far from 62 ms on a busy machine, too

// Guests' ports alone: nothing that has to be looked at.
struct SleepingWorker : ::testing::Test {
  std::array<VhostPort, kPortCount> ports;
  static Testbed::Shape shape(std::array<VhostPort, kPortCount>& ports, unsigned workers) {
    Testbed::Shape shape{.workers = workers, .idle = dataplane::Idle::Adaptive};
    std::ranges::transform(ports, shape.guests.begin(), [](VhostPort& port) { return &port; });
    return shape;
  }
  // The median of some rounds, each with a worker that has fallen asleep.
  static Clock::duration time_until_seen(const std::function<void()>& leave,
                                         const std::function<bool()>& is_seen) {
    std::vector<Clock::duration> times;
    for (unsigned round = 0; round < 15; ++round) {
      const auto rested = Clock::now() + 2ms;
      while (Clock::now() < rested) std::this_thread::yield();
      const auto begin = Clock::now();
      leave();
      while (!is_seen()) std::this_thread::yield();
      times.push_back(Clock::now() - begin);
    }
    std::ranges::sort(times);
    return times[times.size() / 2];
  }
};

// Runs from its construction to its end.
struct Running {
  explicit Running(dataplane::Worker& its) : worker(its), thread([&its] { its.run(); }) {}
  ~Running() {
    worker.request_stop();
    thread.join();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  dataplane::Worker& worker;
  std::thread thread;
};

TEST_F(SleepingWorker, IsWokenByControl) {
  Testbed bed(shape(ports, 1));
  dataplane::Worker& worker = bed.worker(0);
  const Running running(worker);
  EXPECT_LT(time_until_seen([&] { bed.change_state([](auto&) {}); },
                            [&] { return worker.seen_generation() == bed.generation(); }),
            kAtOnce)
      << "a state";
  std::uint64_t injected = 0;
  EXPECT_LT(time_until_seen([&] { bed.inject(kVm1, Bytes(60)), ++injected; },
                            [&] { return worker.counters().injected.get() == injected; }),
            kAtOnce)
      << "a frame";
  EXPECT_LT(time_until_seen(
                [&] {
                  worker.flush_box().ask({});
                  worker.wake();
                },
                [&] { return worker.flush_box().is_idle(); }),
            kAtOnce)
      << "a flush";
  dataplane::Inspection inspection{.look = [](const auto&, auto&) {}};
  EXPECT_LT(time_until_seen(
                [&] {
                  worker.inspection_box().ask(inspection);
                  worker.wake();
                },
                [&] { return worker.inspection_box().is_idle(); }),
            kAtOnce)
      << "an inspection";
}

TEST_F(SleepingWorker, IsWokenToStop) {
  std::vector<Clock::duration> times;
  for (unsigned round = 0; round < 5; ++round) {
    Testbed bed(shape(ports, 1));
    auto running = std::make_unique<Running>(bed.worker(0));
    times.push_back(time_until_seen([] {}, [] { return true; }));  // it has fallen asleep
    const auto begin = Clock::now();
    running = nullptr;
    times.back() = Clock::now() - begin;
  }
  std::ranges::sort(times);
  EXPECT_LT(times[times.size() / 2], kAtOnce);
}

TEST_F(SleepingWorker, IsWokenByAKick) {
  Testbed bed(shape(ports, 1));
  FakeGuest guest;
  const int kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  guest.reopen(-1, kick);
  dataplane::Worker& worker = bed.worker(0);
  const Running running(worker);
  ports[kVm1].tell_worker(0, bed.doorbell(0));
  attach_sender(ports[kVm1], guest);
  std::uint16_t sent = 0;
  unsigned kicks = 0;
  EXPECT_LT(time_until_seen(
                [&] {
                  guest.offer(sent++ % FakeGuest::kSize, {FakeGuest::empty_frame()});
                  std::atomic_thread_fence(std::memory_order_seq_cst);
                  if (!guest.would_kick()) return;
                  ++kicks;
                  eventfd_write(kick, 1);
                },
                [&] { return worker.counters().ports[kVm1].rx_packets.get() == sent; }),
            kAtOnce);
  EXPECT_GT(kicks, 7u);  // it did sleep
}

// Worker 0 is polled by hand; vm1's port is worker 1's, and takes nothing.
TEST_F(SleepingWorker, IsWokenByAWorkerThatHandsAFrameOver) {
  Testbed bed(shape(ports, 2));
  dataplane::Worker& other = bed.worker(1);
  const Running running(other);
  std::uint64_t sent = 0;
  EXPECT_LT(time_until_seen(
                [&] {
                  bed.inject(kVm1, Bytes(60), 0);
                  bed.worker(0).poll_once(++sent);
                },
                [&] {
                  const auto full = dataplane::index_of(dataplane::DropReason::TxFull);
                  return other.counters().ports[kVm1].drops[full].get() == sent;
                }),
            kAtOnce);
  EXPECT_EQ(bed.worker(0).counters().handoff_frames.get(), sent);
}

}  // namespace
}  // namespace vmnat::test
