// SPDX-License-Identifier: Apache-2.0
// Table and JSON.
#include "bench/generator/report.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <rte_cycles.h>
#include <rte_version.h>
#include <sys/utsname.h>
#include <thread>

namespace vmnat::bench {
namespace {

using nlohmann::json;

// What else the device sends (ARP aside) is no fault: a frame of ours that it spoils beyond recognition is
// missed, as loss.
constexpr std::size_t kFirstFault = static_cast<std::size_t>(Fault::Foreign) + 1;
std::uint64_t foreign_frames(const Report& report) {
  return report.faults[static_cast<std::size_t>(Fault::Foreign)];
}

std::string cpu_model() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  return "unknown";
}

std::vector<double> rates_of(const Point& point) {
  std::vector<double> rates;
  for (const LoadSample& sample : point.samples) rates.push_back(sample.mpps());
  return rates;
}

template <typename Member>
double median_of(const Point& point, Member member) {
  std::vector<double> values;
  for (const LoadSample& sample : point.samples) values.push_back(sample.*member);
  return spread_of(values).median;
}

std::string head_of(const Report& report, const Options& options) {
  const Conditions& now = report.conditions;
  return fmt::format(
      "{} on {}: {}, {} CPUs, TSC {:.2f} GHz, Linux {}, {}\n"
      "device under test: {}; mode {}; generator on CPU {}; {} virtio ring of {}, {}mergeable; {}\n"
      "{} VM port{}; frames under way in the ring of each: {}\n"
      "{} hosts, {} internal endpoints, flows in {} order, seed {}; {} runs of {} s; {}\n",
      now.time, now.host, now.cpu_model, now.cpus, now.tsc_ghz, now.kernel, now.dpdk_version,
      options.device_name.empty() ? "not named" : options.device_name, text_of(options.mode), options.eal.cpu,
      options.virtio.packed ? "packed" : "split", options.virtio.queue_size,
      options.virtio.mergeable ? "" : "not ", options.eal.hugepages ? "hugepages" : "no hugepages",
      options.vm_ports(), options.vm_ports() == 1 ? "" : "s",
      options.burst ? fmt::format("at most {}", *options.burst) : "as many as it holds",
      options.flow_space.hosts, options.flow_space.endpoints, text_of(options.order), options.flow_space.seed,
      options.repeat, options.duration_s,
      options.rate_mpps == 0 ? std::string("offered: all that is taken")
                             : fmt::format("offered: {} Mpps per direction", options.rate_mpps));
}

std::string learning_text(const Report& report) {
  std::string text;
  for (const auto& [flows, result] : report.learning) {
    const double rate = result.open_seconds > 0 ? result.opened / result.open_seconds / 1e6 : 0;
    text += fmt::format(
        "{} flows: {} opened ({:.2f} M/s with verification), {} sent again, {} missing out, {} missing "
        "back\n",
        flows, result.opened, rate, result.retries, result.missing, result.missing_back);
  }
  if (report.learning.empty()) return text;
  text += fmt::format(
      "translations: {} tuples shared by two flows, {} internal endpoints with several external ones\n",
      report.shared_tuples, report.dependent_mappings);
  return text;
}

std::string faults_text(const Report& report) {
  std::string text =
      fmt::format("frames verified: {}; other frames seen: {}\n", report.faults[0], foreign_frames(report));
  for (std::size_t i = kFirstFault; i < kFaultKinds; ++i)
    if (report.faults[i] > 0)
      text += fmt::format("FAULT, {} frames: {}\n", report.faults[i], text_of(static_cast<Fault>(i)));
  return text;
}

json json_of(const LoadSample& sample) {
  return {{"mpps", sample.mpps()},
          {"outbound_mpps", sample.outbound_mpps},
          {"inbound_mpps", sample.inbound_mpps},
          {"loss", sample.loss},
          {"lost", sample.lost},
          {"longest_gap_us", sample.longest_gap_us},
          {"gaps_over_1ms", sample.gaps_over_1ms},
          {"longest_absence_us", sample.longest_absence_us},
          {"offered_mpps", sample.offered_mpps},
          {"generator_busy", sample.generator_busy},
          {"frames_per_burst", sample.frames_per_burst},
          {"preemptions", sample.preemptions},
          {"device_ticks", sample.device_ticks},
          {"device_busy", sample.device_busy},
          {"line_trip_ticks", sample.line_trip_ticks}};
}

json json_of(const Throughput& found) {
  return {{"mpps", found.load},
          {"upper_mpps", found.upper},
          {"forwarded_mpps", found.forwarded},
          {"range_exhausted", found.is_range_exhausted}};
}

json json_of(const SearchOutcome& search) {
  json trials = json::array();
  for (const Trial& trial : search.trials)
    trials.push_back({{"mpps", trial.load}, {"loss", trial.loss_ratio}, {"forwarded_mpps", trial.forwarded}});
  return {{"ndr", json_of(search.ndr)}, {"pdr", json_of(search.pdr)}, {"trials", trials}};
}

double microseconds(double ticks) {
  return ticks / static_cast<double>(rte_get_tsc_hz()) * 1e6;
}

// Steps of a percentile axis that shows one more nine at equal distances.
constexpr double kCurveQuantiles[] = {0,      0.1,     0.25,   0.5,     0.75,    0.9,
                                      0.95,   0.975,   0.99,   0.995,   0.9975,  0.999,
                                      0.9995, 0.99975, 0.9999, 0.99995, 0.99999, 0.999999};

json json_of(const LatencyRun& run) {
  const Histogram& frames = run.latencies.frames;
  json curve = json::array();
  for (const double quantile : kCurveQuantiles)
    curve.push_back({quantile, microseconds(frames.at(quantile))});
  return {{"load", text_of(run.asked)},
          {"offered_mpps", run.sample.offered_mpps},
          {"mpps", run.sample.mpps()},
          {"loss", run.sample.loss},
          {"generator_busy", run.sample.generator_busy},
          {"preemptions", run.sample.preemptions},
          {"frames", frames.count()},
          {"min_us", microseconds(frames.smallest())},
          {"mean_us", microseconds(frames.mean())},
          {"p50_us", microseconds(frames.at(0.5))},
          {"p90_us", microseconds(frames.at(0.9))},
          {"p99_us", microseconds(frames.at(0.99))},
          {"p999_us", microseconds(frames.at(0.999))},
          {"max_us", microseconds(frames.largest())},
          {"turn_p50_us", microseconds(run.latencies.turns.at(0.5))},
          {"turn_p99_us", microseconds(run.latencies.turns.at(0.99))},
          {"turn_max_us", microseconds(run.latencies.turns.largest())},
          {"curve", curve}};
}

json json_of(const Point& point) {
  const Spread spread = spread_of(rates_of(point));
  json samples = json::array();
  for (const LoadSample& sample : point.samples) samples.push_back(json_of(sample));
  json result = {{"flows", point.plan.flows},
                 {"frame", point.plan.frames.name()},
                 {"traffic", text_of(point.plan.traffic)},
                 {"order", text_of(point.plan.order)},
                 {"median_mpps", spread.median},
                 {"wire_gbps", wire_gbps(point.plan.frames, spread.median)},
                 {"spread", spread.relative},
                 {"samples", samples}};
  if (point.search) result["search"] = json_of(*point.search);
  if (!point.latency.empty()) result["latency"] = json::array();
  for (const LatencyRun& run : point.latency) result["latency"].push_back(json_of(run));
  return result;
}

std::string row_head(const Point& point) {
  return fmt::format("{:>9} {:>6} {:>9} |", point.plan.flows, point.plan.frames.name(),
                     text_of(point.plan.traffic));
}

std::string search_text(const Report& report) {
  std::string text =
      fmt::format("\n{:>9} {:>6} {:>9} | {:>8} {:>8} {:>8} {:>6}  (trials of the given duration)\n", "flows",
                  "frame", "traffic", "NDR Mpps", "PDR Mpps", "Gbit/s", "trials");
  for (const Point& point : report.points)
    if (point.search)
      text += fmt::format("{} {:>8.3f} {:>8.3f} {:>8.2f} {:>6}{}\n", row_head(point), point.search->ndr.load,
                          point.search->pdr.load, wire_gbps(point.plan.frames, point.search->ndr.load),
                          point.search->trials.size(),
                          point.search->ndr.is_range_exhausted ? "  (a bound of the search)" : "");
  return text;
}

std::string latency_row(const Point& point, const LatencyRun& run) {
  const Histogram& frames = run.latencies.frames;
  std::string text =
      fmt::format("{} {:>9} {:>8.3f} |", row_head(point), text_of(run.asked), run.sample.mpps());
  for (const double quantile : {0.5, 0.9, 0.99, 0.999})
    text += fmt::format(" {:>8.1f}", microseconds(frames.at(quantile)));
  return text + fmt::format(" {:>8.1f} | {:>6.2f} {:>6.2f}\n", microseconds(frames.largest()),
                            microseconds(run.latencies.turns.at(0.5)),
                            microseconds(run.latencies.turns.at(0.99)));
}

std::string latency_text(const Report& report) {
  std::string text = fmt::format(
      "\nlatency in us, from the first offer to the device's ring to the frame's arrival; turn: one turn of "
      "the\n"
      "generator's loop, within which either end is known\n"
      "{:>9} {:>6} {:>9} | {:>9} {:>8} | {:>8} {:>8} {:>8} {:>8} {:>8} | {:>6} {:>6}\n",
      "flows", "frame", "traffic", "load", "Mpps", "p50", "p90", "p99", "p99.9", "max", "turn", "p99");
  for (const Point& point : report.points)
    for (const LatencyRun& run : point.latency) text += latency_row(point, run);
  return text;
}

json json_of_conditions(const Conditions& now, const Options& options) {
  return {{"time", now.time},
          {"host", now.host},
          {"kernel", now.kernel},
          {"cpu", now.cpu_model},
          {"cpus", now.cpus},
          {"tsc_ghz", now.tsc_ghz},
          {"dpdk", now.dpdk_version},
          {"device", options.device_name},
          {"mode", text_of(options.mode)},
          {"generator_cpu", options.eal.cpu},
          {"hugepages", options.eal.hugepages},
          {"packed", options.virtio.packed},
          {"mergeable", options.virtio.mergeable},
          {"queue_size", options.virtio.queue_size},
          {"ports", options.vm_ports()},
          {"burst", options.burst ? json(*options.burst) : json()},
          {"hosts", options.flow_space.hosts},
          {"endpoints", options.flow_space.endpoints},
          {"seed", options.flow_space.seed},
          {"runs", options.repeat},
          {"run_seconds", options.duration_s},
          {"rate_mpps", options.rate_mpps}};
}

}  // namespace

Conditions current_conditions() {
  utsname kernel{};
  uname(&kernel);
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return {.time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now)),
          .host = kernel.nodename,
          .kernel = kernel.release,
          .cpu_model = cpu_model(),
          .dpdk_version = rte_version(),
          .cpus = std::thread::hardware_concurrency(),
          .tsc_ghz = static_cast<double>(rte_get_tsc_hz()) / 1e9};
}

bool Report::is_verified() const {
  const bool is_complete = std::all_of(learning.begin(), learning.end(), [](const auto& entry) {
    return entry.second.missing == 0 && entry.second.missing_back == 0;
  });
  return is_complete && shared_tuples == 0 &&
         std::all_of(faults.begin() + kFirstFault, faults.end(), [](auto count) { return count == 0; });
}

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto quantile = [&](double share) {
    const double at = share * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
  };
  const double median = quantile(0.5);
  return {median, median == 0 ? 0 : (quantile(0.75) - quantile(0.25)) / 2 / median};
}

json json_of(const ConnectionTrial& trial) {
  return {{"millions_per_second", trial.millions_per_second()},
          {"attempted", trial.attempted},
          {"completed", trial.completed},
          {"seconds", trial.seconds},
          {"generator_busy", trial.generator_busy}};
}

json json_of(const ConnectionPoint& point) {
  json trials = json::array();
  for (const ConnectionTrial& trial : point.trials) trials.push_back(json_of(trial));
  json result = {{"kind", text_of(point.kind)},
                 {"flows_per_trial", point.flows_per_trial},
                 {"first", json_of(point.first)},
                 {"trials", trials}};
  if (point.search) result["search"] = json_of(*point.search);
  return result;
}

std::string connections_text(const Report& report) {
  std::string text = "\nconnections a second, of flows never seen before\n";
  for (const ConnectionPoint& point : report.connections) {
    std::vector<double> rates, losses;
    for (const ConnectionTrial& trial : point.trials) {
      rates.push_back(trial.millions_per_second());
      losses.push_back(trial.loss());
    }
    const Spread spread = spread_of(rates);
    text += fmt::format(
        "  {} {}: {:.3f} M/s, spread {:.1f}%, {:.3f}% lost; first trial {:.3f} M/s; {} flows a trial\n",
        text_of(point.kind), point.kind == ConnectionKind::UdpOpen ? "open" : "open and close", spread.median,
        spread.relative * 100, spread_of(losses).median * 100, point.first.millions_per_second(),
        point.flows_per_trial);
    if (point.search)
      text += fmt::format("      NDR {:.3f} M/s, PDR {:.3f} M/s, {} trials\n", point.search->ndr.load,
                          point.search->pdr.load, point.search->trials.size());
  }
  return text;
}

std::string text_of(const Report& report, const Options& options) {
  std::string text = head_of(report, options) + learning_text(report);
  text += fmt::format("\n{:>9} {:>6} {:>9} | {:>8} {:>7} {:>8} {:>8} {:>8} | {:>9} {:>6}\n", "flows", "frame",
                      "traffic", "Mpps", "spread", "out", "in", "loss", "generator", "burst");
  for (const Point& point : report.points) {
    const Spread spread = spread_of(rates_of(point));
    text += fmt::format(
        "{} {:>8.2f} {:>6.1f}% {:>8.2f} {:>8.2f} {:>7.3f}% | {:>8.0f}% {:>6.1f}\n", row_head(point),
        spread.median, spread.relative * 100, median_of(point, &LoadSample::outbound_mpps),
        median_of(point, &LoadSample::inbound_mpps), median_of(point, &LoadSample::loss) * 100,
        median_of(point, &LoadSample::generator_busy) * 100, median_of(point, &LoadSample::frames_per_burst));
  }
  if (options.search) text += search_text(report);
  if (!options.latency.empty()) text += latency_text(report);
  if (!report.connections.empty()) text += connections_text(report);
  return text + "\n" + faults_text(report);
}

std::string json_of(const Report& report, const Options& options) {
  json document = {{"conditions", json_of_conditions(report.conditions, options)},
                   {"points", json::array()},
                   {"learning", json::array()},
                   {"faults", json::object()},
                   {"verified", report.is_verified()},
                   {"frames_verified", report.faults[0]},
                   {"other_frames", foreign_frames(report)},
                   {"shared_tuples", report.shared_tuples},
                   {"dependent_mappings", report.dependent_mappings}};
  for (const Point& point : report.points) document["points"].push_back(json_of(point));
  if (!report.connections.empty()) document["connections"] = json::array();
  for (const ConnectionPoint& point : report.connections) document["connections"].push_back(json_of(point));
  for (const auto& [flows, result] : report.learning)
    document["learning"].push_back({{"flows", flows},
                                    {"opened", result.opened},
                                    {"missing", result.missing},
                                    {"missing_back", result.missing_back},
                                    {"retries", result.retries},
                                    {"open_seconds", result.open_seconds}});
  for (std::size_t i = kFirstFault; i < kFaultKinds; ++i)
    if (report.faults[i] > 0)
      document["faults"][std::string(text_of(static_cast<Fault>(i)))] = report.faults[i];
  return document.dump(2);
}

}  // namespace vmnat::bench
