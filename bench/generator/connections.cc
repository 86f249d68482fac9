// SPDX-License-Identifier: Apache-2.0
// Trials one after the other, each with flows of its own; and the UDP trial.
#include "bench/generator/connections.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdexcept>

#include "bench/generator/opening_pace.h"

namespace vmnat::bench {
namespace {

constexpr std::uint64_t kSampledFrames = 64;
constexpr double kDrainTime = 0.02;
constexpr double kLowestShare = 1e-3;
constexpr double kHighestShare = 2;

// Hands out flows that were never used.
class FreshFlows {
 public:
  explicit FreshFlows(Tester& tester) : tester_(tester), next_(tester.flows().size()) {}
  FlowNumber take(FlowNumber count) {
    if (tester_.plan().most_flows() - next_ < count)
      throw std::runtime_error("--remotes holds too few endpoints for that many connection trials");
    const FlowNumber first = next_;
    next_ += count;
    tester_.flows().reserve_flows(next_);
    return first;
  }

 private:
  Tester& tester_;
  FlowNumber next_;
};

// Outbound frames as they arrive, counted.
class Arrivals {
 public:
  explicit Arrivals(Tester& tester)
      : tester_(tester), expected_(tester.expected_addresses(Direction::Outbound)) {}

  unsigned receive() {
    unsigned total = 0;
    for (const auto& station : tester_.receivers(Direction::Outbound)) total += receive_at(*station);
    return total;
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t last() const { return last_; }

 private:
  unsigned receive_at(Station& station) {
    rte_mbuf* frames[kBurst];
    const std::uint16_t count = rte_eth_rx_burst(station.port.id(), 0, frames, kBurst);
    for (std::uint16_t i = 0; i < count; ++i) count_frame(station, bytes_of(frames[i]));
    if (count == 0) return 0;
    rte_pktmbuf_free_bulk(frames, count);
    last_ = rte_rdtsc();
    return count;
  }

  void count_frame(Station& station, std::span<const std::byte> frame) {
    const bool is_expected = frame.size() == kSmallestFrame - kFcsLength && expected_.holds(frame.data());
    if (is_expected) ++count_;
    if (!is_expected || count_ % kSampledFrames == 0) tester_.check(Direction::Outbound, station, frame);
  }

  Tester& tester_;
  AddressRange expected_;
  std::uint64_t count_ = 0;
  std::uint64_t last_ = 0;
};

ConnectionTrial run_trial(Tester& tester, ConnectionKind kind, FreshFlows& fresh, double rate) {
  const FlowNumber count = tester.options().connection_flows;
  const ConnectionPlan plan{.first = fresh.take(count), .count = count, .rate = rate};
  const ConnectionTrial trial =
      kind == ConnectionKind::UdpOpen ? open_udp(tester, plan) : talk_tcp(tester, plan);
  tester.drain();
  tester.progress().show(fmt::format("{}: {:.3f} M/s, {:.4f}% lost", text_of(kind),
                                     trial.millions_per_second(), trial.loss() * 100));
  return trial;
}

SearchOutcome search_rates(Tester& tester, ConnectionKind kind, FreshFlows& fresh, double guess) {
  RateSearch search(
      [&](double rate) {
        const ConnectionTrial trial = run_trial(tester, kind, fresh, rate);
        return Trial{.load = rate, .loss_ratio = trial.loss(), .forwarded = trial.millions_per_second()};
      },
      {.lowest = guess * kLowestShare, .highest = guess * kHighestShare, .first_guess = guess});
  const Throughput ndr = search.find(kConnectionNdr);
  const Throughput pdr = search.find(kConnectionPdr);
  return {ndr, pdr, search.trials()};
}

}  // namespace

ConnectionTrial open_udp(Tester& tester, const ConnectionPlan& plan) {
  std::vector<FlowNumber> flows(plan.count);
  std::iota(flows.begin(), flows.end(), plan.first);
  tester.prepare_load_pools(Direction::Outbound, kSmallestFrame);
  Streams streams(tester, {.flows = std::move(flows)});
  Arrivals arrivals(tester);
  OpeningPace pace(plan);
  while (!pace.is_over() && !streams.is_finished()) {
    const unsigned arrived = arrivals.receive();
    const std::uint64_t due = pace.due();
    const std::uint64_t taken = due == 0 ? 0 : streams.send(due);
    pace.took(taken, arrived + taken > 0);
  }
  poll_until(kDrainTime, [&] { return arrivals.receive(), arrivals.count() >= plan.count; });
  return pace.trial(arrivals.count(), arrivals.last());
}

std::vector<ConnectionPoint> measure_connections(Tester& tester) {
  std::vector<ConnectionPoint> points;
  FreshFlows fresh(tester);
  for (const ConnectionKind kind : tester.options().connections) {
    ConnectionPoint point{.kind = kind,
                          .flows_per_trial = tester.options().connection_flows,
                          .first = run_trial(tester, kind, fresh, 0),
                          .trials = {},
                          .search = {}};
    double best = 0;
    for (unsigned i = 0; i < tester.options().repeat; ++i) {
      point.trials.push_back(run_trial(tester, kind, fresh, 0));
      best = std::max(best, point.trials.back().millions_per_second());
    }
    if (tester.options().connection_search && best > 0)
      point.search = search_rates(tester, kind, fresh, best);
    points.push_back(std::move(point));
  }
  return points;
}

}  // namespace vmnat::bench
