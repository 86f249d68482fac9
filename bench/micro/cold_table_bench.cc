// SPDX-License-Identifier: Apache-2.0
// What a burst of new sessions waits for on tables never touched: page faults, with and without another
// thread that looks ahead (conntrack/look_ahead.h) as vmnatd's control does.
//
//   cold_table_bench --cpus 0,1 --capacity 1048576 --sessions 262144
//
//                    bursts with page faults      longest      in all
//   cold                                  11    3721.8 us      7.1 ms
//   looked ahead of                        1      34.3 us      0.0 ms
//
// A burst is 32 sessions, opened one burst after the other. Those during which another process had the CPU
// are left out. What a fault costs depends on whether a hypervisor has the memory at hand: 0.3 or 5 ms for 2
// MiB.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <fmt/format.h>
#include <memory>
#include <random>
#include <sched.h>
#include <sys/resource.h>
#include <system_error>
#include <thread>
#include <vector>

#include "bench/micro/nat_table.h"
#include "conntrack/look_ahead.h"

namespace vmnat::conntrack {
namespace {

using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::duration<double, std::micro>;

constexpr unsigned kBurst = 32;
constexpr std::chrono::milliseconds kTick{8}, kBehindTick{2}, kPopulating{2};  // control's

struct Options {
  std::vector<unsigned> cpus{0, 1};  // the looking-ahead thread's and the worker's
  std::uint32_t capacity = 1u << 20;
  unsigned sessions = 1u << 18;
};

void pin(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
}

// With an external port for each session.
struct Table : NatTable {
  explicit Table(const Options& options) : NatTable(options.capacity, addresses_for(options.sessions) + 2) {}
};

std::vector<OutboundFlow> make_flows(unsigned count) {
  std::mt19937_64 random(7);
  std::vector<OutboundFlow> flows;
  for (unsigned i = 0; i < count; ++i) flows.push_back(flow_number(i, random));
  return flows;
}

struct Faults {
  unsigned bursts = 0;
  Microseconds longest{}, all{};
};

rusage usage() {
  rusage now{};
  getrusage(RUSAGE_THREAD, &now);
  return now;
}

Faults open_all(Conntrack& table, std::span<OutboundFlow> flows) {
  Faults faults;
  std::array<FlowKey, kBurst> keys;
  std::array<Session*, kBurst> found;
  for (; flows.size() >= kBurst; flows = flows.subspan(kBurst)) {
    const rusage before = usage();
    const Clock::time_point start = Clock::now();
    std::ranges::transform(flows.first(kBurst), keys.begin(), &OutboundFlow::key);
    table.find_burst(keys, found.data());
    table.prefetch_open(flows.first(kBurst), 0);
    for (const OutboundFlow& flow : flows.first(kBurst)) table.open_outbound(flow, 0, Time{});
    const Microseconds took = Clock::now() - start;
    const rusage after = usage();
    if (after.ru_minflt == before.ru_minflt || after.ru_nivcsw != before.ru_nivcsw) continue;
    ++faults.bursts;
    faults.all += took;
    faults.longest = std::max(faults.longest, took);
  }
  return faults;
}

void look_ahead(const Conntrack& table, const std::atomic<bool>& stop, std::atomic<bool>& has_caught_up) {
  LookAhead ahead(table);
  while (!stop.load()) {
    const Clock::time_point start = Clock::now();
    int error = 0;
    bool is_behind = true;
    while ((is_behind = ahead.step(error)) && Clock::now() - start < kPopulating) continue;
    if (error != 0) throw std::system_error(error, std::generic_category(), "populating pages");
    if (!is_behind) has_caught_up.store(true);
    std::this_thread::sleep_for(is_behind ? kBehindTick : kTick);
  }
}

void print_row(const char* table, const Faults& faults) {
  fmt::print("{:16}{:26}{:10.1f} us{:9.1f} ms\n", table, faults.bursts, faults.longest.count(),
             faults.all.count() / 1000);
}

void measure_cold(const Options& options) {
  const Table table(options);
  auto flows = make_flows(options.sessions);
  const Faults faults = open_all(*table.conntrack, flows);
  print_row("cold", faults);
}

void measure_looked_ahead(const Options& options) {
  const Table table(options);
  auto flows = make_flows(options.sessions);
  std::atomic<bool> stop{false}, has_caught_up{false};
  std::jthread control([&] {
    pin(options.cpus[0]);
    look_ahead(*table.conntrack, stop, has_caught_up);
  });
  while (!has_caught_up.load()) std::this_thread::yield();
  const Faults faults = open_all(*table.conntrack, flows);
  stop.store(true);
  print_row("looked ahead of", faults);
}

}  // namespace
}  // namespace vmnat::conntrack

int main(int argc, char** argv) {
  vmnat::conntrack::Options options;
  CLI::App app("Page faults of a burst of new sessions, with and without looking ahead");
  app.add_option("--cpus", options.cpus, "of the thread that looks ahead, and of the worker")
      ->delimiter(',')
      ->expected(2);
  app.add_option("--capacity", options.capacity, "of the table, sessions");
  app.add_option("--sessions", options.sessions, "opened");
  CLI11_PARSE(app, argc, argv);
  vmnat::conntrack::pin(options.cpus[1]);
  fmt::print("{:16}{:>26}{:>13}{:>12}\n", "", "bursts with page faults", "longest", "in all");
  vmnat::conntrack::measure_cold(options);
  vmnat::conntrack::measure_looked_ahead(options);
}
