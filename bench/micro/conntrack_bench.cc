// SPDX-License-Identifier: Apache-2.0
// Cost of the session table: lookup, opening, closing, expiry, memory; beside DPDK's rte_hash and a table
// without bursts. Times are per key or session; `ticks` are TSC ticks.
//
//   conntrack_bench --benchmark_filter=find --benchmark_repetitions=5
//
// Every session has an internal endpoint, a mapping and an external port of its own (the dearest case) and
// a random remote; keys come in random order, half of them outbound, half inbound.
#include <algorithm>
#include <atomic>
#include <benchmark/benchmark.h>
#include <cstdio>
#include <map>
#include <numeric>
#include <random>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <thread>

#include "bench/micro/nat_table.h"

namespace vmnat::conntrack {
namespace {

constexpr unsigned kBurst = 32;

// Counts items and says what one costs in TSC ticks of CPU time: other processes' turns do not count.
class TickMeter {
 public:
  explicit TickMeter(benchmark::State& state) : state_(state) {}
  ~TickMeter() {
    const double hertz = static_cast<double>(rte_get_tsc_hz());
    // A rate of items / hertz, inverted, is the CPU time of one item times hertz.
    state_.counters["ticks"] = {static_cast<double>(items) / hertz,
                                benchmark::Counter::kIsRate | benchmark::Counter::kInvert};
    state_.SetItemsProcessed(items);
  }
  std::int64_t items = 0;

 private:
  benchmark::State& state_;
};

// With room for `capacity` sessions and as many external addresses as they need.
struct Table : NatTable {
  explicit Table(std::size_t capacity, unsigned spare_addresses = 1, Pages pages = Pages::Huge)
      : NatTable(capacity, addresses_for(capacity) + spare_addresses, pages) {}
};

// A filled table and its keys; the last one asked for is kept, since filling takes longer than measuring.
struct Filled : Table {
  explicit Filled(std::size_t sessions, Pages pages) : Table(sessions, 1, pages) {
    std::mt19937_64 random(sessions);
    keys.reserve(2 * sessions);
    for (std::size_t i = 0; i < sessions; ++i) {
      const Opened opened = conntrack->open_outbound(flow_number(i, random), 0, Time{});
      if (opened.session == nullptr) std::abort();
      keys.push_back(opened.session->outbound_key());
      keys.push_back(opened.session->inbound_key());
    }
    bytes = conntrack->memory_used() + ports->memory_used();
    std::ranges::shuffle(keys, random);
    if (keys.size() > kMostKeys) keys.resize(kMostKeys);
    keys.resize(keys.size() / kBurst * kBurst);
    for (const FlowKey& key : keys) {
      misses.push_back({key.remote ^ (random() | 1), key.local});
      misses.back().remote &= FlowKey::kRemoteMask;
    }
    for (std::size_t i = 0; i < keys.size(); ++i) mixed.push_back(i % 2 ? keys[i] : misses[i]);
  }
  static constexpr std::size_t kMostKeys = 4 << 20;
  std::vector<FlowKey> keys, misses, mixed;
  std::size_t bytes = 0;
};

Filled& filled(std::size_t sessions, Pages pages = Pages::Huge) {
  static std::map<std::pair<std::size_t, Pages>, Filled> tables;
  const std::pair wanted{sessions, pages};
  if (!tables.contains(wanted)) {
    tables.clear();
    tables.try_emplace(wanted, sessions, pages);
  }
  return tables.at(wanted);
}

// DPDK's table with the same keys and records of one line: lock-free mode, bulk lookup, its own memory.
class RteHash {
 public:
  explicit RteHash(Filled& from) : records_(from.conntrack->capacity()) {
    rte_hash_parameters parameters{};
    parameters.name = "sessions";
    parameters.entries = static_cast<std::uint32_t>(from.conntrack->capacity() * 2.2);
    parameters.key_len = sizeof(FlowKey);
    parameters.hash_func = [](const void* key, std::uint32_t, std::uint32_t) {
      static constexpr FlowHash hash(42);
      return static_cast<std::uint32_t>(hash(*static_cast<const FlowKey*>(key)));
    };
    parameters.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF;
    table_ = rte_hash_create(&parameters);
    if (table_ == nullptr) return;
    std::uint32_t cursor = 0;
    std::size_t record = 0;
    std::vector<SessionView> views(4096);
    for (;;) {
      const std::size_t count = from.conntrack->snapshot(cursor, views);
      for (std::size_t i = 0; i < count; ++i, ++record) {
        const FlowKey outbound = FlowKey::of(views[i].internal, views[i].remote, views[i].protocol);
        const FlowKey inbound = FlowKey::of(views[i].external, views[i].remote, views[i].protocol);
        rte_hash_add_key_data(table_, &outbound, &records_[record]);
        rte_hash_add_key_data(table_, &inbound, &records_[record]);
      }
      if (count < views.size()) return;
    }
  }
  ~RteHash() { rte_hash_free(table_); }
  RteHash(const RteHash&) = delete;
  RteHash& operator=(const RteHash&) = delete;

  [[nodiscard]] bool usable() const { return table_ != nullptr; }
  void find_burst(std::span<const FlowKey> keys, void** found) const {
    std::array<const void*, kBurst> pointers;
    for (std::size_t i = 0; i < keys.size(); ++i) pointers[i] = &keys[i];
    std::uint64_t hits = 0;
    rte_hash_lookup_bulk_data(table_, pointers.data(), static_cast<std::uint32_t>(keys.size()), &hits, found);
    for (std::size_t i = 0; i < keys.size(); ++i)
      if ((hits >> i & 1) == 0)
        found[i] = nullptr;
      else
        __builtin_prefetch(found[i], 1);
  }

 private:
  struct alignas(64) Record {
    std::array<std::uint64_t, 8> words;
  };
  rte_hash* table_ = nullptr;
  std::vector<Record> records_;
};

const std::vector<FlowKey>& keys_of(const Filled& table, const char* kind) {
  return kind[0] == 'h' ? table.keys : kind[0] == 'm' && kind[2] == 's' ? table.misses : table.mixed;
}

void find_burst(benchmark::State& state, const char* kind, Pages pages) {
  Filled& table = filled(static_cast<std::size_t>(state.range(0)), pages);
  const auto& keys = keys_of(table, kind);
  std::array<Session*, kBurst> found;
  std::size_t at = 0;
  TickMeter meter(state);
  for (auto _ : state) {
    table.conntrack->find_burst(std::span(keys).subspan(at, kBurst), found.data());
    benchmark::DoNotOptimize(found);
    at = at + kBurst == keys.size() ? 0 : at + kBurst;
    meter.items += kBurst;
  }
}

// What the pipeline does with a hit besides rewriting the frame.
void find_and_count(benchmark::State& state) {
  Filled& table = filled(static_cast<std::size_t>(state.range(0)));
  std::array<Session*, kBurst> found;
  std::size_t at = 0;
  TickMeter meter(state);
  for (auto _ : state) {
    table.conntrack->find_burst(std::span(table.keys).subspan(at, kBurst), found.data());
    for (Session* session : found) {
      benchmark::DoNotOptimize(session->rewrite<Direction::Outbound>());
      session->count<Direction::Outbound>(64);
      session->keep_alive<Direction::Outbound>(Time{});
    }
    at = at + kBurst == table.keys.size() ? 0 : at + kBurst;
    meter.items += kBurst;
  }
}

void find_one_by_one(benchmark::State& state) {
  Filled& table = filled(static_cast<std::size_t>(state.range(0)));
  std::size_t at = 0;
  TickMeter meter(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(table.conntrack->find(table.keys[at]));
    at = at + 1 == table.keys.size() ? 0 : at + 1;
    ++meter.items;
  }
}

void find_burst_rte_hash(benchmark::State& state, const char* kind) {
  Filled& table = filled(static_cast<std::size_t>(state.range(0)));
  const auto& keys = keys_of(table, kind);
  const RteHash hash(table);
  if (!hash.usable()) return state.SkipWithError(rte_strerror(rte_errno));
  std::array<void*, kBurst> found;
  std::size_t at = 0;
  TickMeter meter(state);
  for (auto _ : state) {
    hash.find_burst(std::span(keys).subspan(at, kBurst), found.data());
    benchmark::DoNotOptimize(found);
    at = at + kBurst == keys.size() ? 0 : at + kBurst;
    meter.items += kBurst;
  }
}

// From an empty table to `range` sessions, in bursts of 32 as the pipeline opens them.
void open_new(benchmark::State& state) {
  const auto sessions = static_cast<std::size_t>(state.range(0)) / kBurst * kBurst;
  std::mt19937_64 random(7);
  std::vector<OutboundFlow> flows;
  for (std::size_t i = 0; i < sessions; ++i) flows.push_back(flow_number(i, random));
  TickMeter meter(state);
  for (auto _ : state) {
    state.PauseTiming();
    Table table(sessions, 2);
    state.ResumeTiming();
    std::array<FlowKey, kBurst> keys;
    std::array<Session*, kBurst> found;
    for (std::size_t at = 0; at < sessions; at += kBurst) {
      for (unsigned i = 0; i < kBurst; ++i) keys[i] = flows[at + i].key;
      table.conntrack->find_burst(keys, found.data());
      table.conntrack->prefetch_open(std::span(flows).subspan(at, kBurst), 0);
      for (unsigned i = 0; i < kBurst; ++i)
        benchmark::DoNotOptimize(table.conntrack->open_outbound(flows[at + i], 0, Time{}));
    }
    meter.items += static_cast<std::int64_t>(sessions);
    state.PauseTiming();
    {
      [[maybe_unused]] Table gone(1);
      std::swap(gone.conntrack, table.conntrack);
      std::swap(gone.ports, table.ports);
    }
    state.ResumeTiming();
  }
}

// The sessions of an earlier process enter an empty table, from its records.
void restore(benchmark::State& state) {
  const auto sessions = static_cast<std::size_t>(state.range(0));
  constexpr auto kBurstOfRestore = Conntrack::kMaxBurst;
  std::vector<Session> records(sessions);
  Table before(sessions, 1, Pages::Huge);
  std::mt19937_64 random(7);
  for (std::size_t i = 0; i < sessions; ++i)
    records[i] = *before.conntrack->open_outbound(flow_number(i, random), 0, Time{}).session;
  TickMeter meter(state);
  for (auto _ : state) {
    state.PauseTiming();
    auto table = std::make_unique<Table>(sessions);
    state.ResumeTiming();
    Revivals counts{};
    std::array<Former, kBurstOfRestore> burst;
    table->conntrack->begin_restore();
    for (std::size_t at = 0; at < sessions; at += burst.size()) {
      for (std::size_t i = 0; i < burst.size(); ++i) burst[i].record = records[at + i];
      table->conntrack->restore(burst, Time{}, counts);
    }
    table->conntrack->end_restore();
    if (counts[0] != sessions) std::abort();
    meter.items += static_cast<std::int64_t>(sessions);
    state.PauseTiming();
    table.reset();
    state.ResumeTiming();
  }
}

// Who is told of sessions while they open and end: nobody; a listener on another thread, of each; or of VMs' blocks of 512
// ports.
enum class Told { Nobody, OfSessions, OfBlocks };

// A listener that reads as fast as it can.
class Reader {
 public:
  explicit Reader(Told told) {
    if (told == Told::Nobody) return;
    using About = SessionEventRing::About;
    rings.push_back(std::make_shared<SessionEventRing>(
        told == Told::OfBlocks ? About::Blocks : About::Sessions, 1 << 18));
    thread_ = std::thread([this] {
      SessionEvent event;
      while (!is_done_.load(std::memory_order_relaxed))
        while (rings[0]->take(event)) ++taken;
    });
  }
  ~Reader() {
    is_done_.store(true, std::memory_order_relaxed);
    if (thread_.joinable()) thread_.join();
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  SessionEventRings rings;
  std::uint64_t taken = 0;

 private:
  std::atomic<bool> is_done_{false};
  std::thread thread_;
};

// A table in its steady state: every second a tenth of `range` sessions time out and as many are opened. Time
// passes a tick for each round; expiry and opening are both in the figure.
void open_and_expire(benchmark::State& state, Told told) {
  const auto sessions = static_cast<std::size_t>(state.range(0));
  Table table(sessions * 3 / 2, told == Told::OfBlocks ? 24 : 4);
  if (told == Told::OfBlocks) table.policy.block_ports = 512;
  Reader reader(told);
  if (told != Told::Nobody) table.conntrack->tell(&reader.rings);
  table.policy.timeouts.udp = std::chrono::seconds(10);
  table.conntrack->set_policies({&table.policy, 1});
  std::mt19937_64 random(7);
  std::size_t number = 0;
  Time now{};
  const std::size_t per_tick = sessions / (10 * 16) / kBurst * kBurst + kBurst;
  std::vector<OutboundFlow> flows(per_tick);
  std::array<FlowKey, kBurst> keys;
  std::array<Session*, kBurst> found;
  const auto one_tick = [&] {
    now += Ticks{1};
    for (std::size_t at = 0; at < per_tick; at += kBurst) {
      for (unsigned i = 0; i < kBurst; ++i) keys[i] = flows[at + i].key;
      table.conntrack->find_burst(keys, found.data());
      table.conntrack->prefetch_open(std::span(flows).subspan(at, kBurst), 0);
      for (unsigned i = 0; i < kBurst; ++i) table.conntrack->open_outbound(flows[at + i], 0, now);
    }
    table.conntrack->expire(now, ~0u);
  };
  // VMs come back: each has its blocks.
  const std::size_t numbers = told == Told::OfBlocks ? sessions : SIZE_MAX;
  const auto next_flows = [&] {
    for (OutboundFlow& flow : flows) flow = flow_number(number++ % numbers, random);
  };
  while (now.time_since_epoch() < std::chrono::seconds(20)) {
    next_flows();
    one_tick();
  }
  TickMeter meter(state);
  for (auto _ : state) {
    state.PauseTiming();
    next_flows();
    state.ResumeTiming();
    one_tick();
    meter.items += static_cast<std::int64_t>(per_tick);
  }
  const Statistics statistics = table.conntrack->statistics();
  state.counters["live"] = static_cast<double>(statistics.active);
  state.counters["refused"] = static_cast<double>(number - statistics.created);
  if (told == Told::Nobody) return;
  state.counters["told"] = static_cast<double>(reader.taken);
  state.counters["missed"] = static_cast<double>(reader.rings[0]->missed());
}

// A new port for a new internal endpoint while `range` percent of one address's 64512 ports are used.
void open_at_fill(benchmark::State& state) {
  Table table(200000);
  table.indices.resize(1);
  table.policy.addresses = table.indices;
  table.conntrack->set_policies({&table.policy, 1});
  std::mt19937_64 random(7);
  const auto filled_ports = static_cast<std::size_t>(64512 * state.range(0) / 100);
  std::size_t number = 0;
  std::vector<Session*> open;
  while (table.conntrack->ports_used(0, PortSpace::Udp) < filled_ports)
    open.push_back(table.conntrack->open_outbound(flow_number(number++, random), 0, Time{}).session);
  constexpr unsigned kBatch = 256;
  std::array<Session*, kBatch> batch;
  std::array<OutboundFlow, kBatch> flows;
  TickMeter meter(state);
  for (auto _ : state) {
    state.PauseTiming();
    for (auto& flow : flows) flow = flow_number(number++, random);
    state.ResumeTiming();
    for (unsigned i = 0; i < kBatch; ++i)
      batch[i] = table.conntrack->open_outbound(flows[i], 0, Time{}).session;
    state.PauseTiming();
    for (Session* session : batch) table.conntrack->erase(*session, Time{});
    state.ResumeTiming();
    meter.items += kBatch;
  }
}

template <Direction direction>
void pass(Conntrack& conntrack, const FlowKey& key, const TcpSegment& segment) {
  Session* session = conntrack.find(key);
  session->count<direction>(60);
  conntrack.follow_tcp<direction>(*session, segment, Time{});
}

// A whole TCP connection: SYN, SYN+ACK, ACK, FIN, FIN, ACK, and the session's end.
void tcp_open_and_close(benchmark::State& state) {
  const auto sessions = static_cast<std::size_t>(state.range(0));
  Table table(sessions + 1, 2);
  std::mt19937_64 random(7);
  for (std::size_t i = 0; i < sessions; ++i)
    table.conntrack->open_outbound(flow_number(i, random), 0, Time{});
  std::vector<OutboundFlow> flows;
  for (unsigned i = 0; i < 1 << 18; ++i) flows.push_back(flow_number(i, random, net::Protocol::Tcp));
  using Tcp = net::TcpHeader;
  constexpr std::pair<Direction, TcpSegment> kSegments[] = {
      {Direction::Outbound, {100, 0, 0, Tcp::kSyn}},
      {Direction::Inbound, {900, 101, 0, Tcp::kSyn | Tcp::kAck}},
      {Direction::Outbound, {101, 901, 0, Tcp::kAck}},
      {Direction::Outbound, {101, 901, 0, Tcp::kFin | Tcp::kAck}},
      {Direction::Inbound, {901, 102, 0, Tcp::kFin | Tcp::kAck}},
      {Direction::Outbound, {102, 902, 0, Tcp::kAck}}};
  std::size_t at = 0;
  TickMeter meter(state);
  for (auto _ : state) {
    const OutboundFlow& flow = flows[at++ % flows.size()];
    const Opened opened = table.conntrack->open_outbound(flow, 0, Time{});
    const FlowKey inbound = opened.session->inbound_key();
    for (const auto& [direction, segment] : kSegments)
      direction == Direction::Outbound ? pass<Direction::Outbound>(*table.conntrack, flow.key, segment)
                                       : pass<Direction::Inbound>(*table.conntrack, inbound, segment);
    table.conntrack->erase(*opened.session, Time{});
    ++meter.items;
  }
}

// The sweep over sessions that live: the share of a worker at one turn in 4 s is items/s against this.
void sweep_living(benchmark::State& state) {
  Filled& table = filled(static_cast<std::size_t>(state.range(0)));
  static std::uint32_t second = 0;
  TickMeter meter(state);
  for (auto _ : state) {
    second += 4;
    // Ten years ahead of the last packet would expire them: time stands within the UDP timeout.
    const std::uint32_t now = second % 256;
    table.conntrack->expire(Time{Ticks{std::chrono::seconds(now)}}, ~0u);
    table.conntrack->expire(Time{Ticks{std::chrono::seconds(now)} + Ticks{63}}, ~0u);
    meter.items += state.range(0);
  }
}

// Record, index, mappings, port bits: pages touched by a full table, and by one that has one session.
void memory_per_session(benchmark::State& state) {
  const auto sessions = static_cast<std::size_t>(state.range(0));
  Table empty(sessions);
  std::mt19937_64 random(1);
  empty.conntrack->open_outbound(flow_number(0, random), 0, Time{});
  std::size_t bytes = 0;
  for (auto _ : state) bytes = filled(sessions).bytes;
  state.counters["bytes"] = static_cast<double>(bytes) / static_cast<double>(sessions);
  state.counters["total_MB"] = static_cast<double>(bytes) / 1e6;
  state.counters["first_session_MB"] =
      static_cast<double>(empty.conntrack->memory_used() + empty.ports->memory_used()) / 1e6;
}

void register_all() {
  for (const std::int64_t size : {1 << 10, 1 << 16, 1 << 20, 4 << 20, 10'000'000}) {
    const auto add = [&](const std::string& name, auto function) {
      benchmark::RegisterBenchmark(name.c_str(), function)->Arg(size);
    };
    for (const char* kind : {"hit", "miss", "mixed"}) {
      add(std::string("find_burst/") + kind,
          [kind](benchmark::State& state) { find_burst(state, kind, Pages::Huge); });
    }
    add("find_one_by_one/hit", find_one_by_one);
    add("find_and_count/hit", find_and_count);
    for (const char* kind : {"hit", "miss", "mixed"}) {
      add(std::string("find_burst_rte_hash/") + kind,
          [kind](benchmark::State& state) { find_burst_rte_hash(state, kind); });
    }
    // EAL runs without huge pages here: the fair comparison with rte_hash.
    add("find_burst_small_pages/hit",
        [](benchmark::State& state) { find_burst(state, "hit", Pages::Small); });
    add("sweep_living", sweep_living);
    benchmark::RegisterBenchmark("memory_per_session", memory_per_session)->Arg(size)->Iterations(1);
  }
  for (const std::int64_t size : {1 << 16, 1 << 20, 4 << 20}) {
    benchmark::RegisterBenchmark("open_new", open_new)->Arg(size)->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark("restore", restore)->Arg(size)->Unit(benchmark::kMillisecond);
    for (const auto& [name, told] :
         {std::pair("open_and_expire", Told::Nobody), std::pair("open_and_expire_told", Told::OfSessions),
          std::pair("open_and_expire_by_block", Told::OfBlocks)})
      benchmark::RegisterBenchmark(name, [told](benchmark::State& state) {
        open_and_expire(state, told);
      })->Arg(size);
    benchmark::RegisterBenchmark("tcp_open_and_close", tcp_open_and_close)->Arg(size);
  }
  for (const std::int64_t percent : {0, 50, 90, 99, 100})
    benchmark::RegisterBenchmark("open_at_fill", open_at_fill)->Arg(percent);
}

}  // namespace
}  // namespace vmnat::conntrack

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  char program[] = "conntrack_bench", no_huge[] = "--no-huge", no_pci[] = "--no-pci", memory[] = "-m",
       megabytes[] = "3072", no_files[] = "--no-shconf", no_telemetry[] = "--no-telemetry", lcore[] = "-l",
       first[] = "0", log[] = "--log-level=error";
  char* eal[] = {program, no_huge, no_pci, memory, megabytes, no_files, no_telemetry, lcore, first, log};
  if (rte_eal_init(std::size(eal), eal) < 0) {
    std::fprintf(stderr, "conntrack_bench: EAL: %s\n", rte_strerror(rte_errno));
    return 1;
  }
  vmnat::conntrack::register_all();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  rte_eal_cleanup();
  return 0;
}
