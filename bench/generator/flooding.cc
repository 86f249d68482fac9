// SPDX-License-Identifier: Apache-2.0
#include "bench/generator/flooding.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <rte_cycles.h>
#include <utility>

namespace vmnat::bench {
namespace {

constexpr double kDiscoverInterval = 0.5;  // seconds: more than the check before an offer takes
constexpr double kQuietSeconds = 2;        // of the phases without a flood, at most

std::uint64_t ticks_of(double seconds) {
  return static_cast<std::uint64_t>(seconds * static_cast<double>(rte_get_tsc_hz()));
}

// A client on the victim's port that asks for an address again and again, and counts who answers.
class DhcpClient {
 public:
  explicit DhcpClient(Tester& tester)
      : tester_(tester), port_(tester.senders(Direction::Outbound).front()->port) {
    discover_ = kDiscover.frame({.own = port_.mac()});
    tester.watch_others([this](Direction direction, std::span<const std::byte> frame) {
      if (direction == Direction::Inbound) note(frame);
    });
  }
  ~DhcpClient() { tester_.watch_others({}); }
  DhcpClient(const DhcpClient&) = delete;
  DhcpClient& operator=(const DhcpClient&) = delete;

  void turn() {
    const std::uint64_t now = rte_rdtsc();
    if (now < next_) return;
    next_ = now + ticks_of(kDiscoverInterval);
    kDiscover.vary(discover_.data(), ++transaction_);
    if (!port_.send(discover_)) return;
    ++asked_;
    awaits_ = true;
  }
  // Since the last time.
  FloodPhase take_counts() { return {{}, std::exchange(asked_, 0), std::exchange(answered_, 0)}; }

 private:
  static constexpr std::size_t kProtocol = 23, kSourcePort = 34, kTransaction = 46;
  inline static const Flood& kDiscover = *find_flood("dhcp");

  void note(std::span<const std::byte> frame) {
    if (frame.size() < discover_.size() - 64 || frame[kProtocol] != std::byte{17}) return;
    if (frame[kSourcePort] != std::byte{0} || frame[kSourcePort + 1] != std::byte{67}) return;
    if (!awaits_ || std::memcmp(&frame[kTransaction], &discover_[kTransaction], 4) != 0) return;
    awaits_ = false;
    ++answered_;
  }

  Tester& tester_;
  Port& port_;
  std::vector<std::byte> discover_;
  std::uint32_t transaction_ = 0x10000000;
  std::uint64_t next_ = 0;
  bool awaits_ = false;
  unsigned asked_ = 0, answered_ = 0;
};

FloodEnds ends_of(Tester& tester, const Flooder& flooder) {
  const Options& options = tester.options();
  return {.own = flooder.mac(),
          .gateway = tester.next_hop(*tester.senders(Direction::Outbound).front()),
          .address = options.flooder,
          .gateway_address = options.flow_space.network.address,
          .remote = tester.plan().remote(0).address,
          .silent = options.silent};
}

double microseconds(const Histogram& frames, double quantile) {
  return frames.at(quantile) / static_cast<double>(rte_get_tsc_hz()) * 1e6;
}

nlohmann::json json_of(const FloodPhase& phase) {
  return {{"mpps", phase.load.mpps()},
          {"offered_mpps", phase.load.offered_mpps},
          {"loss", phase.load.loss},
          {"generator_busy", phase.load.generator_busy},
          {"preemptions", phase.load.preemptions},
          {"discovers", phase.discovers},
          {"offers", phase.offers}};
}

}  // namespace

FloodResult measure_flood(Tester& tester, Flooder& flooder) {
  const Options& options = tester.options();
  const LoadPlan plan{.traffic = Traffic::Both,
                      .flows = options.flows.front(),
                      .frames = options.frames.front(),
                      .order = options.order,
                      .seconds = options.duration_s};
  LoadPlan quiet = plan;
  quiet.seconds = std::min(plan.seconds, kQuietSeconds);
  FloodResult result{.flood = find_flood(options.flood)};
  flooder.aim(ends_of(tester, flooder));
  DhcpClient client(tester);
  const auto measure = [&](const LoadPlan& what, FloodPhase& phase, bool is_flooded) {
    Load load(tester, what, Stamping::EachFrame);
    load.accompany([&]() -> unsigned {
      client.turn();
      return is_flooded ? flooder.turn() : 0;
    });
    const LoadSample sample = load.run(options.rate_mpps, is_flooded ? &result.latencies : nullptr);
    phase = client.take_counts();
    phase.load = sample;
  };
  measure(quiet, result.before, false);
  const std::uint64_t start = rte_rdtsc();
  measure(plan, result.during, true);
  result.flood_mpps = static_cast<double>(flooder.sent()) /
                      (static_cast<double>(rte_rdtsc() - start) / static_cast<double>(rte_get_tsc_hz())) /
                      1e6;
  measure(quiet, result.after, false);
  return result;
}

std::string text_of(const FloodResult& result) {
  const Histogram& frames = result.latencies.frames;
  const auto loss = [](const FloodPhase& phase) { return phase.load.loss * 100; };
  return fmt::format(
      "{}: {}\n"
      "flood {:.3f} Mpps; victim {:.3f} Mpps without, {:.3f} with it: {:.3f}; loss {:.3f}, {:.3f}, then "
      "{:.3f} %\n"
      "latency p50 {:.0f}, p99 {:.0f}, max {:.0f} us; OFFERs {} of {}, {} of {}, then {} of {}\n",
      result.flood->name, result.flood->says, result.flood_mpps, result.before.load.mpps(),
      result.during.load.mpps(), result.share(), loss(result.before), loss(result.during), loss(result.after),
      microseconds(frames, 0.5), microseconds(frames, 0.99), microseconds(frames, 1), result.before.offers,
      result.before.discovers, result.during.offers, result.during.discovers, result.after.offers,
      result.after.discovers);
}

std::string json_of(const FloodResult& result, const Options& options) {
  const Histogram& frames = result.latencies.frames;
  const nlohmann::json document = {
      {"flood", result.flood->name},          {"says", result.flood->says},
      {"rate_mpps", options.rate_mpps},       {"seconds", options.duration_s},
      {"flows", options.flows.front()},       {"frame", options.frames.front().name()},
      {"flood_mpps", result.flood_mpps},      {"share", result.share()},
      {"before", json_of(result.before)},     {"during", json_of(result.during)},
      {"after", json_of(result.after)},       {"p50_us", microseconds(frames, 0.5)},
      {"p99_us", microseconds(frames, 0.99)}, {"max_us", microseconds(frames, 1)}};
  return document.dump(1);
}

}  // namespace vmnat::bench
