// SPDX-License-Identifier: Apache-2.0
#include "bench/generator/line_trip.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <pthread.h>
#include <rte_cycles.h>
#include <sched.h>
#include <thread>

namespace vmnat::bench {
namespace {

constexpr std::uint32_t kTrips = 1001;
constexpr double kMostChange = 1.4;  // within one distance

struct Lines {
  alignas(128) std::atomic<std::uint32_t> out{0};
  alignas(128) std::atomic<std::uint32_t> back{0};
};

bool move_to(unsigned cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  return pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus) == 0;
}

// From 1 on; the far end has begun when 1 is back.
void answer(Lines& lines, unsigned cpu, std::atomic<bool>& is_refused) {
  if (!move_to(cpu)) {
    is_refused = true;
    return;
  }
  for (std::uint32_t trip = 1; trip <= kTrips; ++trip) {
    while (lines.out.load(std::memory_order_acquire) != trip) {
    }
    lines.back.store(trip, std::memory_order_release);
  }
}

}  // namespace

std::optional<double> line_trip_ticks(unsigned cpu) {
  Lines lines;
  std::atomic<bool> is_refused{false};
  std::thread far([&] { answer(lines, cpu, is_refused); });
  std::array<std::uint64_t, kTrips> ticks{};
  for (std::uint32_t trip = 1; trip <= kTrips && !is_refused; ++trip) {
    const std::uint64_t begin = rte_rdtsc();
    lines.out.store(trip, std::memory_order_release);
    while (lines.back.load(std::memory_order_acquire) != trip && !is_refused) {
    }
    ticks[trip - 1] = rte_rdtsc() - begin;
  }
  far.join();
  if (is_refused) return std::nullopt;
  const auto middle = ticks.begin() + ticks.size() / 2;
  std::nth_element(ticks.begin(), middle, ticks.end());
  return static_cast<double>(*middle);
}

bool is_other_distance(double before, double after) {
  return std::max(before, after) > kMostChange * std::min(before, after);
}

}  // namespace vmnat::bench
