// SPDX-License-Identifier: Apache-2.0
// The order of measurements at one point: rate, search, latency.
#include "bench/generator/point.h"

#include <algorithm>
#include <fmt/format.h>

#include "bench/generator/line_trip.h"

namespace vmnat::bench {
namespace {

// The search looks from a thousandth of the first guess up to half more than it.
constexpr double kLowestShare = 1e-3;
constexpr double kHighestShare = 1.5;

void show(Tester& tester, const LoadPlan& plan, const std::string& what) {
  tester.progress().show(
      fmt::format("{} flows, {} bytes, {}: {}", plan.flows, plan.frames.name(), text_of(plan.traffic), what));
}

constexpr unsigned kMostTries = 5;  // of a rate during which the CPUs are moved

// At one distance of the CPUs, where that is measured and stands still for so long.
LoadSample sample_rate(const Options& options, Load& load) {
  if (!options.device_cpu || options.rate_mpps > 0) return load.run(options.rate_mpps);
  LoadSample sample;
  for (unsigned i = 0; i < kMostTries; ++i) {
    const double before = line_trip_ticks(*options.device_cpu).value_or(0);
    sample = load.run(options.rate_mpps);
    sample.line_trip_ticks = line_trip_ticks(*options.device_cpu).value_or(0);
    if (!is_other_distance(before, sample.line_trip_ticks)) break;
  }
  return sample;
}

std::vector<LoadSample> measure_rate(Tester& tester, const LoadPlan& plan, Load& load) {
  std::vector<LoadSample> samples;
  for (unsigned i = 0; i < tester.options().repeat; ++i) {
    samples.push_back(sample_rate(tester.options(), load));
    show(tester, plan, fmt::format("{:.2f} Mpps", samples.back().mpps()));
  }
  return samples;
}

SearchOutcome search_rates(Tester& tester, const LoadPlan& plan, Load& load) {
  const double guess = load.run(0).mpps();
  const auto lanes = static_cast<double>(load.directions());
  const auto measure = [&](double mpps) {
    const LoadSample sample = load.run(mpps / lanes);
    show(tester, plan, fmt::format("{:.3f} Mpps offered, {:.4f}% lost", mpps, sample.loss * 100));
    return Trial{.load = mpps, .loss_ratio = sample.loss, .forwarded = sample.mpps()};
  };
  RateSearch search(measure,
                    {.lowest = guess * kLowestShare, .highest = guess * kHighestShare, .first_guess = guess});
  const Throughput ndr = search.find(kNdr);
  const Throughput pdr = search.find(kPdr);
  return {ndr, pdr, search.trials()};
}

// What shares of load refer to: PDR when there was a search, else the rate without limit.
double highest_rate(const Point& point, Load& load) {
  return point.search ? point.search->pdr.load : load.run(0).mpps();
}

LatencyRun measure_latency(Tester& tester, const LatencyLoad& asked, double highest, Load& load) {
  LatencyRun run{.asked = asked, .sample = {}, .latencies = {}};
  const double mpps = asked.is_share ? asked.value * highest : asked.value;
  show(tester, {}, fmt::format("latency at {:.3f} Mpps", mpps));
  run.sample = load.run(mpps / static_cast<double>(load.directions()), &run.latencies);
  return run;
}

}  // namespace

Point measure_point(Tester& tester, const LoadPlan& plan) {
  Point point{.plan = plan, .samples = {}, .search = {}, .latency = {}};
  {
    Load load(tester, plan);
    point.samples = measure_rate(tester, plan, load);
    if (tester.options().search) point.search = search_rates(tester, plan, load);
  }
  if (tester.options().latency.empty()) return point;
  Load load(tester, plan, Stamping::EachFrame);
  const double highest = highest_rate(point, load);
  for (const LatencyLoad& asked : tester.options().latency)
    point.latency.push_back(measure_latency(tester, asked, highest, load));
  return point;
}

}  // namespace vmnat::bench
