// SPDX-License-Identifier: Apache-2.0
#include "control/watch/exhaustion.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>

namespace vmnat::control {

using Row = dataplane::RefusedRemotes::Row;

std::vector<Row> most_refused(const RefusedByWorker& by_worker) {
  std::map<net::Ipv4Addr, Row> by_remote;
  for (const auto& copy : by_worker)
    for (const Row& row : copy.rows) {
      if (row.count == 0) continue;
      Row& sum = by_remote[row.remote];
      const Row before = sum;
      sum = row;
      sum.count += before.count;
      sum.excess += before.excess;
    }
  std::vector<Row> rows;
  rows.reserve(by_remote.size());
  for (const auto& [remote, row] : by_remote) rows.push_back(row);
  std::ranges::stable_sort(rows, std::ranges::greater{}, &Row::count);
  return rows;
}

std::optional<std::string> ExhaustionWatch::news(const RefusedByWorker& by_worker) {
  told_.resize(by_worker.size());
  std::uint64_t fresh = 0, most = 0;
  const Row* latest = nullptr;  // of the worker that has refused most
  for (std::size_t i = 0; i < by_worker.size(); ++i) {
    const Row& row = by_worker[i].latest;
    const std::uint64_t grown = row.count - std::exchange(told_[i], row.count);
    fresh += grown;
    if (grown <= most) continue;
    most = grown;
    latest = &row;
  }
  if (latest == nullptr) return std::nullopt;
  const PortPlan& port = ports_[latest->port];
  return fmt::format("sessions refused: {} since the last word, at last network {}, port {}, remote {}: {}",
                     fresh, port.config == nullptr ? "-" : config_.networks[port.network].name, port.name,
                     net::to_string(latest->remote), dataplane::kDropNames[index_of(latest->cause)]);
}

}  // namespace vmnat::control
