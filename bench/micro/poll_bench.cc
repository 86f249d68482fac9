// SPDX-License-Identifier: Apache-2.0
// What ports that send nothing cost their worker: ticks of one turn over the rings of 1, 64 or 256 guests.
//
//   all_rings    a look at each ring in each turn
//   idle_rings   as a worker does it (dataplane/worker/poll_set.h): all but the first few are idle, and eight have a look
//   no_guests    the ports are there, their guests are not
//
// Between two turns other memory is read, as a burst of frames does, so that rings have left the first-level cache.
#include <algorithm>
#include <benchmark/benchmark.h>
#include <memory>
#include <rte_cycles.h>
#include <vector>

#include "dataplane/worker/poll_set.h"
#include "tests/support/fake_guest.h"

namespace vmnat::bench {
namespace {

using namespace dataplane;

constexpr std::size_t kBurstBytes = 64 << 10;  // what a burst touches: sessions, frames, tables
constexpr unsigned kSettling = 2 * PollSet::kQuietPolls;

struct Port {
  VhostPort vhost;
  test::FakeGuest guest;

  void attach() {
    vhost.queue(1) = guest.queue();
    vhost.attach(virtio::kVersion1);
    vhost.set_enabled(1, true);
    vhost.resume(VhostPort::kDrivenHere);
  }
};

std::vector<std::unique_ptr<Port>> ports_with_guests(std::size_t count) {
  std::vector<std::unique_ptr<Port>> ports;
  for (std::size_t i = 0; i < count; ++i) ports.emplace_back(std::make_unique<Port>())->attach();
  return ports;
}

PollSet set_of(const std::vector<std::unique_ptr<Port>>& ports) {
  std::vector<ReceiveQueue> queues;
  for (const auto& port : ports)
    queues.push_back({.device = {.vhost = &port->vhost}, .port = static_cast<PortIndex>(queues.size() + 1)});
  return {queues, {}};
}

std::uint64_t turn(PollSet& set, Look look) {
  rte_mbuf* frames[32];
  const std::uint64_t begin = rte_rdtsc();
  const unsigned found = set.poll(look, [&](PolledQueue& queue) -> unsigned {
    return queue.queue.device.receive(queue.queue.queue_id, nullptr, frames, std::size(frames));
  });
  const std::uint64_t ticks = rte_rdtsc() - begin;
  benchmark::DoNotOptimize(found);
  return ticks;
}

void turns(benchmark::State& state, PollSet& set, Look look) {
  std::vector<std::uint8_t> other(kBurstBytes);
  for (unsigned i = 0; i < kSettling; ++i) turn(set, Look::AtSomeIdle);
  std::vector<std::uint64_t> all;
  for (auto _ : state) {
    for (std::size_t at = 0; at < other.size(); at += kCacheLineSize) benchmark::DoNotOptimize(++other[at]);
    all.push_back(turn(set, look));
    state.SetIterationTime(static_cast<double>(all.back()) * 1e-9);  // the column of times has ticks, too
  }
  std::ranges::nth_element(all, all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2));
  state.counters["ticks"] = static_cast<double>(all[all.size() / 2]);
}

void all_rings(benchmark::State& state) {
  const auto ports = ports_with_guests(static_cast<std::size_t>(state.range(0)));
  PollSet set = set_of(ports);
  turns(state, set, Look::AtAll);
}

void idle_rings(benchmark::State& state) {
  const auto ports = ports_with_guests(static_cast<std::size_t>(state.range(0)));
  PollSet set = set_of(ports);
  turns(state, set, Look::AtSomeIdle);
}

// Control leaves them out.
void no_guests(benchmark::State& state) {
  PollSet set = set_of({});
  turns(state, set, Look::AtSomeIdle);
}

void counts(benchmark::internal::Benchmark* benchmark) {
  for (const int ports : {1, 64, 256}) benchmark->Arg(ports);
  benchmark->UseManualTime()->Iterations(20'000);
}
BENCHMARK(all_rings)->Apply(counts);
BENCHMARK(idle_rings)->Apply(counts);
BENCHMARK(no_guests)->Apply(counts);

}  // namespace
}  // namespace vmnat::bench

BENCHMARK_MAIN();
