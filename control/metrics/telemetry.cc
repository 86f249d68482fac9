// SPDX-License-Identifier: Apache-2.0
#include "control/metrics/telemetry.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <rte_telemetry.h>
#include <string>

namespace vmnat::metrics {
namespace {

using Values = std::map<std::string, std::uint64_t>;
using Named = std::map<std::string, Values>;

// DPDK's callbacks bear no pointer of ours. It is never freed: DPDK's thread goes on to the end of the process.
struct Board {
  std::mutex lock;
  Values counters;
  Named ports, workers;
};
Board& board() {
  static Board& all = *new Board;
  return all;
}

// DPDK takes letters, digits, "_" and "/" in names.
std::string slashed(std::string name) {
  std::ranges::replace(name, '.', '/');
  return name;
}

int answer(const Values& values, rte_tel_data* data) {
  rte_tel_data_start_dict(data);
  for (const auto& [name, value] : values) rte_tel_data_add_dict_u64(data, name.c_str(), value);
  return 0;
}

// The names; of a name that is given, what it has.
int answer(const Named& named, const char* name, rte_tel_data* data) {
  if (name != nullptr && *name != '\0') {
    const auto found = named.find(name);
    return found == named.end() ? -ENOENT : answer(found->second, data);
  }
  rte_tel_data_start_array(data, RTE_TEL_STRING_VAL);
  for (const auto& [each, values] : named) rte_tel_data_add_array_string(data, each.c_str());
  return 0;
}

int answer_counters(const char*, const char*, rte_tel_data* data) {
  const std::scoped_lock locked(board().lock);
  return answer(board().counters, data);
}
int answer_ports(const char*, const char* name, rte_tel_data* data) {
  const std::scoped_lock locked(board().lock);
  return answer(board().ports, name, data);
}
int answer_workers(const char*, const char* name, rte_tel_data* data) {
  const std::scoped_lock locked(board().lock);
  return answer(board().workers, name, data);
}

Values counters_of(const control::Counts& counts) {
  Values counters;
  for (const auto& [name, value] : counts.named) counters[slashed(name)] = value;
  return counters;
}

Named ports_of(const control::CommandContext& at, const control::Counts& counts) {
  Named ports;
  for (std::size_t i = 0; i < at.ports.size(); ++i) {
    if (!at.ports[i].exists) continue;
    const control::PortTotals& totals = counts.ports[i];
    Values& port = ports[at.ports[i].name];
    port = {{"up", at.states.current().ports[i].up}, {"rx_packets", totals.rx_packets},
            {"rx_bytes", totals.rx_bytes},           {"tx_packets", totals.tx_packets},
            {"tx_bytes", totals.tx_bytes},           {"tx_refused", totals.tx_refused}};
    for (std::size_t reason = 0; reason < totals.drops.size(); ++reason)
      if (totals.drops[reason] != 0)
        port["drop/" + std::string{dataplane::kDropNames[reason]}] = totals.drops[reason];
  }
  return ports;
}

Named workers_of(const control::CommandContext& at) {
  Named workers;
  for (std::size_t i = 0; i < at.workers.count(); ++i) {
    const dataplane::WorkerCounters& counters = at.workers[i].counters();
    workers[std::to_string(i)] = {{"cpu", at.eal.worker_cpus[i]},
                                  {"busy_cycles", counters.busy_cycles.get()},
                                  {"awake_cycles", counters.total_cycles.get()},
                                  {"polls", at.workers[i].polls()},
                                  {"handoff_frames", counters.handoff_frames.get()},
                                  {"sessions", at.workers[i].conntrack().statistics().active}};
  }
  return workers;
}

void register_commands() {
  static std::once_flag once;
  std::call_once(once, [] {
    rte_telemetry_register_cmd("/vmnat/counters", answer_counters, "Every counter. Takes no parameters");
    rte_telemetry_register_cmd("/vmnat/ports", answer_ports,
                               "Names of ports. Parameter: a name, for its counts");
    rte_telemetry_register_cmd("/vmnat/workers", answer_workers,
                               "Numbers of workers. Parameter: a number, for its counts");
  });
}

}  // namespace

Telemetry::Telemetry(const control::CommandContext& at)
    : at_(at), is_on_(std::ranges::find(at.eal.arguments, "--telemetry") != at.eal.arguments.end()) {
  if (is_on_) register_commands();
}

Telemetry::~Telemetry() {
  const std::scoped_lock locked(board().lock);
  board().counters.clear();
  board().ports.clear();
  board().workers.clear();
}

void Telemetry::show(const control::Counts& counts) {
  if (!is_on_) return;
  Values counters = counters_of(counts);
  Named ports = ports_of(at_, counts), workers = workers_of(at_);
  const std::scoped_lock locked(board().lock);
  board().counters.swap(counters);
  board().ports.swap(ports);
  board().workers.swap(workers);
}

}  // namespace vmnat::metrics
