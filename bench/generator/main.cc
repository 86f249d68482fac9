// SPDX-License-Identifier: Apache-2.0
// vmnat-bench: plays a VM and its remote peers on the two sides of a NAT gateway, and measures it.
//
//   vmnat-bench --vm /run/vm1.sock --uplink /run/uplink.sock --flows 1,10000,100000
//
// It attaches to the device's ports, finds the device by ARP, opens the flows and verifies every translation,
// then loads the device in steady state and counts what arrives. With --mode forward the device passes frames
// on unchanged (testpmd io or macswap), with --mode reflect it sends them back: the bound to compare with.
// bench/runner/run does all of this in one go.
#include <csignal>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>

#include "bench/generator/early_end.h"
#include "bench/generator/flooding.h"
#include "bench/generator/learning.h"
#include "bench/generator/options.h"
#include "bench/generator/point.h"
#include "bench/generator/report.h"
#include "bench/generator/tester.h"

namespace vmnat::bench {
namespace {

void say(const Options& options, const std::string& text) {
  if (!options.quiet) fmt::print(stderr, "{}\n", text);
}

void learn(Tester& tester, FlowNumber flows, Report& report) {
  const LearningResult result = learn_flows(tester, flows);
  if (tester.options().mode != Mode::Nat) return;
  report.learning.emplace_back(flows, result);
  say(tester.options(), fmt::format("  {} flows opened, {} missing", result.opened, result.missing));
  if (result.missing == flows) throw std::runtime_error("no frame comes through the device under test");
}

Report run_all(Tester& tester) {
  const Options& options = tester.options();
  Report report{.conditions = current_conditions()};
  for (const FlowNumber flows : options.flows) {
    learn(tester, flows, report);
    if (!options.steady_load) continue;
    for (const FrameMix& frames : options.frames)
      for (const Traffic traffic : options.traffic)
        report.points.push_back(measure_point(tester, {.traffic = traffic,
                                                       .flows = flows,
                                                       .frames = frames,
                                                       .order = options.order,
                                                       .seconds = options.duration_s}));
  }
  report.connections = measure_connections(tester);
  report.faults = tester.faults();
  report.shared_tuples =
      tester.options().mode == Mode::Nat ? tester.flows().count_shared_tuples(tester.plan()) : 0;
  report.dependent_mappings = tester.flows().count_dependent_mappings(options.flow_space.endpoints);
  return report;
}

void write_json(const Options& options, const std::string& json) {
  if (options.json_path.empty()) return;
  std::ofstream file(options.json_path);
  file << json << '\n';
  if (!file.flush()) throw std::runtime_error("cannot write " + options.json_path);
}

// A flood's faults are told by what comes through, and by what does not.
int run_flood(Tester& tester) {
  const Options& options = tester.options();
  Flooder flooder(flooder_device_name(options), options.virtio.queue_size, *find_flood(options.flood));
  if (!poll_until(20, [&] { return flooder.is_up(); }))
    throw std::runtime_error("the flooder's link does not come up");
  Report unused;
  learn(tester, options.flows.front(), unused);
  const FloodResult result = measure_flood(tester, flooder);
  tester.progress().clear();
  fmt::print("{}", text_of(result));
  write_json(options, json_of(result, options));
  return 0;
}

// 0: measured and verified; 1: measured, but translations are wrong or missing.
int run_benchmark(const Options& options) {
  const Environment environment(options);
  EarlyEnd::listen();
  Progress progress(options.label);
  Tester tester(options, progress);
  tester.find_device();
  if (!options.flood.empty()) return run_flood(tester);
  const Report report = run_all(tester);
  progress.clear();
  fmt::print("{}", text_of(report, options));
  write_json(options, json_of(report, options));
  return report.is_verified() ? 0 : 1;
}

}  // namespace
}  // namespace vmnat::bench

int main(int argc, char** argv) {
  try {
    const auto parsed = vmnat::bench::parse_options(argc, argv);
    return parsed.options ? vmnat::bench::run_benchmark(*parsed.options) : parsed.exit_code;
  } catch (const std::exception& error) {
    fmt::print(stderr, "vmnat-bench: {}\n", error.what());
    return 2;
  }
}
