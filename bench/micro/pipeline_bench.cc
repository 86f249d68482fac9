// SPDX-License-Identifier: Apache-2.0
// Cost of a packet inside the worker: all steps of the pipeline over bursts of hits (`outbound`, `inbound`) or of new UDP
// flows (`open`), without the devices. `listed`: outbound, while a thread on another CPU reads all sessions again and
// again, as control does for whoever lists them.
//
// `workers`: outbound, so many workers in turn on one CPU, which share the sessions: what their tables and counters cost
// each other in its caches. `handed_over`: replies that have come by another worker's queue, both workers' ticks together.
//
// `rules`: 65 536 flows opened, each judged by so many rules and accepted by the last.
//
//   pipeline_bench --benchmark_repetitions=5 --benchmark_report_aggregates_only
//
// Arguments are sessions; frames are of random sessions in a fixed order. `ticks` are TSC ticks a packet, of
// the median burst: the machine is shared, and interrupted bursts shall not count. In a build with
// -Dstage_cycles=true each step's share of the mean is printed, too.
#include <algorithm>
#include <array>
#include <atomic>
#include <benchmark/benchmark.h>
#include <map>
#include <optional>
#include <random>
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sched.h>
#include <thread>
#include <unistd.h>

#include "bench/generator/flows.h"
#include "bench/generator/frame.h"
#include "bench/micro/record_memory.h"
#include "dataplane/context/filter_rules.h"
#include "dataplane/pipeline/pipeline.h"

namespace vmnat::bench {
namespace {

using namespace dataplane;

constexpr net::MacAddr kGatewayMac{{0x52, 0x54, 0, 0, 1, 1}};
constexpr net::MacAddr kVmMac{{0x52, 0x54, 0, 0xaa, 0, 1}};
constexpr net::MacAddr kUplinkMac{{0x02, 0, 0, 0, 0, 0xaa}};
constexpr net::MacAddr kRouterMac{{0x02, 0, 0, 0, 0, 0xbb}};
constexpr PortIndex kVm = 1;
constexpr std::size_t kWireSize = 64;
constexpr unsigned kBuffers = 512;  // frames stay in the caches, as those that vhost has just copied do

const FlowPlan& plan() {
  static const FlowPlan plan({.network = net::parse_ipv4_prefix("192.168.122.1/24").value(),
                              .remotes = net::parse_ipv4_prefix("100.64.0.0/10").value()});
  return plan;
}

// A transmit queue that ends in a ring, which the benchmark empties.
struct Wire {
  explicit Wire(const char* name)
      : ring(rte_ring_create(name, kBuffers * 2, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ)) {
    const int made = rte_eth_from_rings(name, &ring, 1, &ring, 1, 0);
    if (made < 0) std::abort();
    port_id = static_cast<std::uint16_t>(made);
    rte_eth_conf conf{};
    rte_eth_dev_configure(port_id, 0, 1, &conf);
    rte_eth_tx_queue_setup(port_id, 0, 64, 0, nullptr);
    rte_eth_dev_start(port_id);
  }
  rte_ring* ring;
  std::uint16_t port_id = 0;
};

// One worker's context with `sessions` open sessions, and the frames of both directions.
class Gateway {
 public:
  // One of several, which have the external ports in common.
  struct Role {
    WorkerIndex worker = 0;
    unsigned workers = 1;
    std::shared_ptr<conntrack::ExternalPorts> external_ports = conntrack::ExternalPorts::create(1, 1);
    rte_ring* handoff_to_next = nullptr;
  };

  explicit Gateway(std::uint32_t sessions) : Gateway(sessions, Role{}) {}
  Gateway(std::uint32_t sessions, Role role)
      : role_(std::move(role)),
        conntrack_(make_conntrack(sessions)),
        rings_{.handoff_to = {FrameRing{}, FrameRing{role_.handoff_to_next}}},
        counters_(2),
        transmitter_(role_.worker, {.most_ports = 2, .uplinks = 1, .tsc_hz = 1}, counters_, rings_),
        context_{.state = &state_,
                 .worker = role_.worker,
                 .worker_count = role_.workers,
                 .conntrack = *conntrack_,
                 .external_ports = *role_.external_ports,
                 .counters = counters_,
                 .rings = rings_,
                 .transmitter = transmitter_,
                 .fragments = fragments_,
                 .datagram_numbers = datagram_numbers_,
                 .refused_remotes = refused_remotes_,
                 .host_flows = host_flows_,
                 .served_flows = served_flows_,
                 .peer_flows = peer_flows_,
                 .punt_budgets = punt_budgets_,
                 .port_icmp_error_budgets = budgets_} {
    state_.external_addresses = external_;
    state_.uplinks[0] = {.address = net::parse_ipv4_prefix("198.18.0.2/24").value(),
                         .gateway = net::Ipv4Addr::of(198, 18, 0, 1),
                         .mac = kUplinkMac,
                         .gateway_mac = kRouterMac};
    state_.networks = {{.gateway = plan().space().network, .mac = kGatewayMac, .ports = {kVm}}};
    state_.ports = {{.owner = role_.worker, .up = true, .device = {.port_id = wires()[0].port_id}},
                    {.network = 0,
                     .owner = role_.worker,
                     .up = true,
                     .device = {.port_id = wires()[1].port_id},
                     .usual_mac = kVmMac}};
    plan_frames(sessions);
  }

  // Of what the VM sends: all but the last match none of its flows.
  void set_rules(unsigned count) {
    if (count == 0) return;
    std::vector<RuleList> lists(1);
    for (unsigned i = 0; i < count; ++i)
      lists[0].rules.push_back(
          {.match = {.protocol = net::Protocol::Udp,
                     .remote = i + 1 == count
                                   ? std::optional<net::Ipv4Prefix>{}
                                   : net::Ipv4Prefix{net::Ipv4Addr::from_host(0x0a00'0000 + (i << 4)), 28},
                     .remote_ports = i + 1 == count
                                         ? std::optional<RuleMatch::Ports>{}
                                         : RuleMatch::Ports{static_cast<std::uint16_t>(i % 1000), 2000}},
           .account = std::make_shared<RuleAccount>(1)});
    std::vector<PortRules> of_ports(2);
    of_ports[kVm].own[static_cast<std::size_t>(Direction::Outbound)] = 1;
    auto table = RuleTable::build(lists);
    if (table == nullptr) std::abort();
    state_.rules = std::make_shared<const FilterRules>(std::move(table), std::move(of_ports), 1, 1);
    state_.ports[kVm].has_rules = true;
  }

  // Opens all sessions, in a random order, and gets their replies ready.
  void open_sessions() {
    for (std::size_t at = 0; at < outbound_.size(); at += kBurstSize) run_burst<Direction::Outbound>();
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const Tuple tuple = plan().outbound(order_[i]);
      const Session* session =
          conntrack_->find(FlowKey::of(tuple.source, tuple.destination, net::Protocol::Udp));
      if (session == nullptr) std::abort();
      inbound_.push_back(inbound_frame_.patch_of({tuple.destination, session->external()}, order_[i]));
    }
    std::ranges::shuffle(inbound_, std::mt19937_64(order_.size()));
  }
  [[nodiscard]] std::size_t bursts() const { return outbound_.size() / kBurstSize; }
  [[nodiscard]] const conntrack::Conntrack& table() const { return *conntrack_; }

  // Ticks that the pipeline took for one burst in this direction.
  template <Direction direction>
  std::uint64_t run_burst() {
    constexpr bool is_outbound = direction == Direction::Outbound;
    load_burst<direction>(*this);
    const std::uint64_t begin = rte_rdtsc();
    if constexpr (is_outbound)
      run_outbound(context_, burst_);
    else
      run_inbound(context_, burst_);
    const std::uint64_t ticks = rte_rdtsc() - begin;
    transmitter_.flush(state_);
    take_sent(is_outbound ? kUplinkPort : kVm);
    return ticks;
  }
  // The same for replies of the next worker's sessions that have come here: here and there.
  std::uint64_t hand_burst_to(Gateway& next) {
    load_burst<Direction::Inbound>(next);
    const std::uint64_t begin = rte_rdtsc();
    run_inbound(context_, burst_);
    transmitter_.flush(state_);
    rte_mbuf* frames[kBurstSize];
    const unsigned count = FrameRing{role_.handoff_to_next}.pop(frames, kBurstSize);
    run_errands(next.context_, next.burst_, frames, count);
    const std::uint64_t ticks = rte_rdtsc() - begin;
    next.transmitter_.flush(next.state_);
    next.take_sent(kVm);
    return ticks;
  }

  void show_stages(benchmark::State& state) const {
    if constexpr (kStageCyclesCounted)
      for (unsigned i = 0; i < kStageCount; ++i) {
        const StageTotal total = counters_.stages.of(static_cast<Stage>(i));
        if (total.packets == 0) continue;
        state.counters[std::string(kStageNames[i])] =
            static_cast<double>(total.cycles) / static_cast<double>(total.packets);
      }
  }

 private:
  // With the next frames of `of`.
  template <Direction direction>
  void load_burst(Gateway& of) {
    constexpr bool is_outbound = direction == Direction::Outbound;
    const std::vector<FlowPatch>& patches = is_outbound ? of.outbound_ : of.inbound_;
    const FrameTemplate& frame = is_outbound ? outbound_frame_ : inbound_frame_;
    if (rte_pktmbuf_alloc_bulk(pool(), burst_.frames, kBurstSize) != 0) std::abort();
    for (unsigned i = 0; i < kBurstSize; ++i) {
      auto* start =
          reinterpret_cast<std::byte*>(rte_pktmbuf_append(burst_.frames[i], kWireSize - kFcsLength));
      std::ranges::copy(frame.bytes(), start);
      patches[of.at_ + i].apply_to(start);
    }
    of.at_ = of.at_ + 2 * kBurstSize > patches.size() ? 0 : of.at_ + kBurstSize;
    std::ranges::fill(burst_.ports, is_outbound ? kVm : kUplinkPort);
    burst_.count = kBurstSize;
  }

  static rte_mempool* pool() {
    static rte_mempool* pool = rte_pktmbuf_pool_create("frames", kBuffers - 1, 0, kPrivateSize,
                                                       2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
    if (pool == nullptr) std::abort();
    return pool;
  }
  static std::span<Wire> wires() {
    static std::array<Wire, 2> wires{Wire("uplink"), Wire("vm")};
    return wires;
  }

  std::unique_ptr<conntrack::Conntrack> make_conntrack(std::uint32_t sessions) {
    const conntrack::ExternalAddress external{.address = net::Ipv4Addr::of(198, 18, 0, 2)};
    external_ = conntrack::ExternalAddresses::of({&external, 1});
    policy_.addresses = {0};
    const std::uint32_t capacity = std::max<std::uint32_t>(sessions, 4096);
    records_.emplace(capacity);
    return conntrack::Conntrack::create({.capacity = capacity,
                                         .seed = 42,
                                         .worker = role_.worker,
                                         .vm_ports = 2,
                                         .records = records_->records()},
                                        *role_.external_ports, *external_, {&policy_, 1});
  }

  void plan_frames(std::uint32_t sessions) {
    order_.resize(std::max(sessions, 4 * kBurstSize) / kBurstSize * kBurstSize);
    for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<FlowNumber>(i % sessions);
    std::ranges::shuffle(order_, std::mt19937_64(sessions));
    for (const FlowNumber flow : order_)
      outbound_.push_back(outbound_frame_.patch_of(plan().outbound(flow), flow));
  }

  void take_sent(PortIndex port) {
    rte_mbuf* sent[kBurstSize];
    const unsigned count =
        rte_ring_sc_dequeue_burst(wires()[port].ring, reinterpret_cast<void**>(sent), kBurstSize, nullptr);
    if (count != kBurstSize) std::abort();  // a hit that was not sent would make the figure worthless
    rte_pktmbuf_free_bulk(sent, count);
  }

  Role role_;
  FrameTemplate outbound_frame_{kWireSize, kVmMac, kGatewayMac};
  FrameTemplate inbound_frame_{kWireSize, kRouterMac, kUplinkMac};
  std::vector<FlowNumber> order_;
  std::vector<FlowPatch> outbound_, inbound_;
  std::size_t at_ = 0;
  std::shared_ptr<const conntrack::ExternalAddresses> external_;
  conntrack::NatPolicy policy_;
  std::optional<conntrack::RecordMemory> records_;
  std::unique_ptr<conntrack::Conntrack> conntrack_;
  ForwardingState state_;
  Rings rings_;
  WorkerCounters counters_;
  Transmitter transmitter_;
  FragmentTable fragments_{{.ports = 2}, counters_};
  DatagramNumbers datagram_numbers_{0, 0, 1};
  RefusedRemotes refused_remotes_;
  HostFlows host_flows_, served_flows_;
  PeerFlows peer_flows_;
  PuntBudgets punt_budgets_{2, 2};
  std::array<PortIcmpErrors, 2> budgets_;
  Context context_;
  Burst burst_;
};

// Filling takes longer than measuring: the last one asked for is kept.
Gateway& gateway(std::uint32_t sessions) {
  static std::map<std::uint32_t, Gateway> gateways;
  if (!gateways.contains(sessions)) {
    gateways.clear();
    gateways.try_emplace(sessions, sessions);
    gateways.at(sessions).open_sessions();
  }
  return gateways.at(sessions);
}

// Ticks a packet of the median burst.
double median_ticks(std::vector<std::uint64_t>& bursts) {
  const auto middle = bursts.begin() + static_cast<std::ptrdiff_t>(bursts.size() / 2);
  std::ranges::nth_element(bursts, middle);
  return static_cast<double>(*middle) / kBurstSize;
}

// What `run()` takes for a burst, once the caches have what it needs.
template <typename Run>
void measure(benchmark::State& state, Run run) {
  for (unsigned i = 0; i < 20'000; ++i) run();
  std::vector<std::uint64_t> all;
  for (auto _ : state) {
    all.push_back(run());
    state.SetIterationTime(static_cast<double>(all.back()) / static_cast<double>(rte_get_tsc_hz()));
  }
  state.counters["ticks"] = median_ticks(all);
}

template <Direction direction>
void hits(benchmark::State& state) {
  Gateway& at = gateway(static_cast<std::uint32_t>(state.range(0)));
  measure(state, [&] { return at.run_burst<direction>(); });
  at.show_stages(state);
}

// So many workers, each with its part of the sessions, opened.
std::vector<std::unique_ptr<Gateway>> team(unsigned workers, std::uint32_t sessions,
                                           rte_ring* handoff = nullptr) {
  const std::shared_ptr<conntrack::ExternalPorts> ports = conntrack::ExternalPorts::create(1, workers);
  std::vector<std::unique_ptr<Gateway>> all;
  for (unsigned i = 0; i < workers; ++i)
    all.push_back(std::make_unique<Gateway>(
        sessions / workers, Gateway::Role{static_cast<WorkerIndex>(i), workers, ports, handoff}));
  for (const auto& worker : all) worker->open_sessions();  // each has ports of its own by now
  return all;
}

void hits_in_turns(benchmark::State& state) {
  const auto workers =
      team(static_cast<unsigned>(state.range(0)), static_cast<std::uint32_t>(state.range(1)));
  measure(state, [&, turn = std::size_t{0}]() mutable {
    return workers[turn++ % workers.size()]->run_burst<Direction::Outbound>();
  });
}

void handed_over(benchmark::State& state) {
  static rte_ring* const ring =
      rte_ring_create("handoff", 1024, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  const auto workers = team(2, static_cast<std::uint32_t>(state.range(0)), ring);
  measure(state, [&] { return workers[0]->hand_burst_to(*workers[1]); });
}

// Reads the table from its construction to its end, on another CPU than the caller.
class Lister {
 public:
  explicit Lister(const conntrack::Conntrack& table)
      : thread_([&table, &read = read_, cpu = sched_getcpu()](const std::stop_token& stop) {
          cpu_set_t others;
          CPU_ZERO(&others);
          for (int other = 0; other < sysconf(_SC_NPROCESSORS_ONLN); ++other)
            if (other != cpu) CPU_SET(other, &others);
          pthread_setaffinity_np(pthread_self(), sizeof others, &others);
          std::array<conntrack::SessionView, 64> views;
          for (std::uint32_t cursor = 0; !stop.stop_requested();) {
            const std::size_t taken = table.snapshot(cursor, views);
            read.fetch_add(taken, std::memory_order_relaxed);
            if (taken == 0) cursor = 0;
          }
        }) {}
  [[nodiscard]] double read() const { return static_cast<double>(read_.load()); }

 private:
  std::atomic<std::uint64_t> read_{0};
  std::jthread thread_;  // ends before what it counts
};

// Turns with a reader and without one take turns: the machine's speed changes. `ticks` are with, `alone` without it.
void listed(benchmark::State& state) {
  constexpr unsigned kTurn = 5'000;
  Gateway& at = gateway(static_cast<std::uint32_t>(state.range(0)));
  std::vector<std::uint64_t> with, alone;
  double read = 0;
  for (auto _ : state) {
    for (unsigned i = 0; i < kTurn; ++i) alone.push_back(at.run_burst<Direction::Outbound>());
    const Lister lister(at.table());
    for (unsigned i = 0; i < kTurn; ++i) with.push_back(at.run_burst<Direction::Outbound>());
    read += lister.read();
    state.SetIterationTime(1e-3);
  }
  state.counters["ticks"] = median_ticks(with);
  state.counters["alone"] = median_ticks(alone);
  state.counters["read"] = read;
}

// The second half of as many flows as the argument says, each new: the table fills up from one half to all.
void open_by_rules(benchmark::State& state, std::uint32_t sessions, unsigned rules) {
  std::vector<std::uint64_t> all;
  for (auto _ : state) {
    const auto gateway = std::make_unique<Gateway>(sessions);
    gateway->set_rules(rules);
    for (std::size_t i = 0; i < gateway->bursts() / 2; ++i) gateway->run_burst<Direction::Outbound>();
    std::uint64_t sum = 0;
    for (std::size_t i = gateway->bursts() / 2; i < gateway->bursts(); ++i) {
      all.push_back(gateway->run_burst<Direction::Outbound>());
      sum += all.back();
    }
    state.SetIterationTime(static_cast<double>(sum) / static_cast<double>(rte_get_tsc_hz()));
  }
  const double ticks = median_ticks(all);
  state.counters["ticks"] = ticks;
  state.counters["opened_per_second"] = static_cast<double>(rte_get_tsc_hz()) / ticks;
}

void opens(benchmark::State& state) {
  open_by_rules(state, static_cast<std::uint32_t>(state.range(0)), 0);
}
// The argument are rules.
void judged(benchmark::State& state) {
  constexpr std::uint32_t kSessions = 64 << 10;
  open_by_rules(state, kSessions, static_cast<unsigned>(state.range(0)));
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  for (const int sessions : {1, 10'000, 100'000, 1'000'000, 4'000'000}) benchmark->Arg(sessions);
  benchmark->UseManualTime()->Iterations(50'000);
}
BENCHMARK(hits<Direction::Outbound>)->Name("outbound")->Apply(sizes);
BENCHMARK(hits<Direction::Inbound>)->Name("inbound")->Apply(sizes);
BENCHMARK(hits_in_turns)
    ->Name("workers")
    ->ArgsProduct({{1, 2, 4}, {10'000, 100'000}})
    ->UseManualTime()
    ->Iterations(50'000);
BENCHMARK(handed_over)->Arg(10'000)->UseManualTime()->Iterations(50'000);
BENCHMARK(listed)->Arg(1'000'000)->Arg(10'000'000)->UseManualTime()->Iterations(40);
BENCHMARK(opens)->Name("open")->Arg(64 << 10)->Arg(1 << 20)->UseManualTime()->Iterations(1);
BENCHMARK(judged)->Name("rules")->Arg(0)->Arg(1)->Arg(100)->Arg(10'000)->UseManualTime()->Iterations(1);

bool start_eal() {
  const char* arguments[] = {"pipeline_bench", "--no-huge",        "-m64", "--no-pci", "--no-shconf",
                             "--no-telemetry", "--log-level=error"};
  return rte_eal_init(static_cast<int>(std::size(arguments)), const_cast<char**>(arguments)) >= 0;
}

}  // namespace
}  // namespace vmnat::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv) || !vmnat::bench::start_eal()) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
