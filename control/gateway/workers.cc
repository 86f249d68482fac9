// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/workers.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>

namespace vmnat::control {
namespace {

int run_worker(void* worker) {
  static_cast<dataplane::Worker*>(worker)->run();
  return 0;
}

// By less than this the wall clock is not said to have been set: it is adjusted all the time.
constexpr std::chrono::milliseconds kClockSteps{20};

struct ClockReading {
  std::uint64_t tsc;
  Workers::WallTime wall;
};

// Both at one moment: again, if the thread was not running in between.
ClockReading read_clocks() {
  const std::uint64_t patience = rte_get_tsc_hz() / 10'000;
  for (;;) {
    const std::uint64_t tsc = rte_rdtsc();
    const Workers::WallTime wall = std::chrono::system_clock::now();
    if (rte_rdtsc() - tsc < patience) return {tsc, wall};
  }
}

}  // namespace

Workers::Workers() : start_tsc_(rte_rdtsc()) {}

void Workers::stop() {
  for (unsigned i = 0; i < running_; ++i) workers_[i].request_stop();
  for (unsigned i = 0; i < running_; ++i) rte_eal_wait_lcore(i + 1);
  running_ = 0;
}

bool Workers::add(dataplane::Worker::Settings settings, std::unique_ptr<conntrack::Conntrack> table,
                  const conntrack::ExternalPorts& external_ports) {
  return workers_.emplace_back(std::move(settings), std::move(table), external_ports).has_memory();
}

Result<void> Workers::start() {
  for (dataplane::Worker& worker : workers_) {
    const unsigned lcore = running_ + 1;
    if (const int status = rte_eal_remote_launch(run_worker, &worker, lcore); status != 0)
      return tl::unexpected(Error{
          "dataplane.workers", fmt::format("worker {} does not start: {}", running_, rte_strerror(-status))});
    ++running_;
  }
  return {};
}

std::uint64_t Workers::ticks_at(std::uint64_t tsc) const {
  return (tsc - start_tsc_) * Ticks::period::den / rte_get_tsc_hz();
}

Time Workers::now() const {
  return Time{Ticks{static_cast<std::uint32_t>(ticks_at(rte_rdtsc()))}};
}

Workers::WallTime Workers::wall_time(Time when) const {
  const auto [tsc, wall] = read_clocks();
  const std::chrono::duration<double> since_start(static_cast<double>(tsc - start_tsc_) /
                                                  static_cast<double>(rte_get_tsc_hz()));
  const WallTime start = wall - std::chrono::duration_cast<WallTime::duration>(since_start);
  WallTime known = wall_start_.load(std::memory_order_relaxed);
  const bool was_set = std::chrono::abs(start - known) > kClockSteps;
  if (was_set && wall_start_.compare_exchange_strong(known, start, std::memory_order_relaxed)) known = start;
  const std::uint64_t ticks = ticks_at(tsc);
  const auto ago =
      static_cast<std::int32_t>(static_cast<std::uint32_t>(ticks) - when.time_since_epoch().count());
  return known + std::chrono::duration<std::int64_t, Ticks::period>(static_cast<std::int64_t>(ticks) - ago);
}

std::uint64_t Workers::least_seen_generation() const {
  std::uint64_t least_seen = UINT64_MAX;
  for (const dataplane::Worker& worker : workers_)
    least_seen = std::min(least_seen, worker.seen_generation());
  return least_seen;
}

std::uint64_t Workers::busy_cycles() const {
  std::uint64_t cycles = 0;
  for (const dataplane::Worker& worker : workers_) cycles += worker.counters().busy_cycles.get();
  return cycles;
}

std::vector<const conntrack::Conntrack*> Workers::tables() const {
  std::vector<const conntrack::Conntrack*> tables;
  for (const dataplane::Worker& worker : workers_) tables.push_back(&worker.conntrack());
  return tables;
}

std::vector<dataplane::RefusedRemotes::Copy> Workers::refused_remotes() const {
  std::vector<dataplane::RefusedRemotes::Copy> copies;
  for (const dataplane::Worker& worker : workers_) copies.push_back(worker.refused_remotes().copied());
  return copies;
}

}  // namespace vmnat::control
