// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/port_totals.h"

#include <algorithm>
#include <atomic>
#include <fmt/format.h>

namespace vmnat::control {
namespace {

// As `vmnatctl ports` calls them.
struct Column {
  const char* name;
  std::uint64_t PortTotals::*count;
};
constexpr std::array kColumns{Column{"rx_packets", &PortTotals::rx_packets},
                              Column{"rx_bytes", &PortTotals::rx_bytes},
                              Column{"tx_packets", &PortTotals::tx_packets},
                              Column{"tx_bytes", &PortTotals::tx_bytes},
                              Column{"tx_refused", &PortTotals::tx_refused},
                              Column{"limited_out", &PortTotals::limited_out},
                              Column{"limited_in", &PortTotals::limited_in},
                              Column{"limited_dropped", &PortTotals::limited_dropped},
                              Column{"rings_deferred", &PortTotals::rings_deferred},
                              Column{"refused_connections", &PortTotals::refused_connections},
                              Column{"refused_messages", &PortTotals::refused_messages}};
constexpr std::size_t kFirstDrop = kColumns.size();
constexpr std::size_t kFirstIgnored = kFirstDrop + dataplane::kDropReasonCount;
constexpr std::size_t kColumnCount = kFirstIgnored + dhcp::kIgnoredReasons;

std::string column_name(std::size_t column) {
  if (column < kFirstDrop) return kColumns[column].name;
  if (column < kFirstIgnored) return fmt::format("drop.{}", dataplane::kDropNames[column - kFirstDrop]);
  return fmt::format("dhcp.{}", dhcp::kIgnoredTexts[column - kFirstIgnored].name);
}

// Of PortTotals, with or without const.
auto& cell(auto& totals, std::size_t column) {
  if (column < kFirstDrop) return totals.*kColumns[column].count;
  if (column < kFirstIgnored) return totals.drops[column - kFirstDrop];
  return totals.ignored[column - kFirstIgnored];
}

// By column of this build.
std::vector<std::optional<std::size_t>> places_in(const std::vector<std::string>& columns) {
  std::vector<std::optional<std::size_t>> places(kColumnCount);
  for (std::size_t column = 0; column < kColumnCount; ++column) {
    const auto found = std::ranges::find(columns, column_name(column));
    if (found != columns.end()) places[column] = static_cast<std::size_t>(found - columns.begin());
  }
  return places;
}

// All counts of two ports, pair by pair.
template <typename Do>
void each_count(PortTotals& one, const PortTotals& other, Do act) {
  for (const Column& column : kColumns) act(one.*column.count, other.*column.count);
  for (std::size_t i = 0; i < one.drops.size(); ++i) act(one.drops[i], other.drops[i]);
  for (std::size_t i = 0; i < one.ignored.size(); ++i) act(one.ignored[i], other.ignored[i]);
}

void add_ends(const dataplane::PortCounters& counters, PortTotals& totals) {
  totals.tx_packets += counters.tx_packets.get();
  totals.tx_bytes += counters.tx_bytes.get();
  totals.tx_refused += counters.tx_refused.get();
  totals.limited_out += counters.limited_out.get();
  totals.limited_in += counters.limited_in.get();
  totals.limited_dropped += counters.limited_dropped.get();
  for (std::size_t i = 0; i < totals.drops.size(); ++i) totals.drops[i] += counters.drops[i].get();
}

}  // namespace

PortTotals& PortTotals::operator+=(const PortTotals& more) {
  each_count(*this, more, [](std::uint64_t& sum, std::uint64_t count) { sum += count; });
  return *this;
}

PortTotals PortTotals::since(const PortTotals& before) const {
  PortTotals rest = *this;
  each_count(rest, before, [](std::uint64_t& count, std::uint64_t former) { count -= former; });
  return rest;
}

// Workers count a frame before they count its end; so the ends are read first, of all ports.
std::vector<PortTotals> port_totals(const Workers& workers, std::size_t ports) {
  std::vector<PortTotals> totals(ports);
  for (const dataplane::Worker& worker : workers)
    for (std::size_t port = 0; port < ports; ++port) add_ends(worker.counters().ports[port], totals[port]);
  std::atomic_thread_fence(std::memory_order_acquire);
  for (const dataplane::Worker& worker : workers)
    for (std::size_t port = 0; port < ports; ++port) {
      totals[port].rx_packets += worker.counters().ports[port].rx_packets.get();
      totals[port].rx_bytes += worker.counters().ports[port].rx_bytes.get();
    }
  return totals;
}

PortAccounts::PortAccounts(const std::vector<PortPlan>& first, const Totals& carried)
    : accounts_(first.size()) {
  const auto places = places_in(carried.columns);
  for (std::size_t port = 0; port < first.size(); ++port) {
    const auto row = carried.ports.find(first[port].name);
    if (row == carried.ports.end()) continue;
    PortTotals& known = accounts_[port].carried.emplace();
    for (std::size_t column = 0; column < kColumnCount; ++column)
      if (places[column]) cell(known, column) = row->second[*places[column]];
  }
}

void PortAccounts::begin(PortIndex port, const PortTotals& counted) {
  if (port >= accounts_.size()) accounts_.resize(port + 1u);
  accounts_[port] = {.carried = std::nullopt, .before = counted};
}

std::vector<PortTotals> PortAccounts::told(std::vector<PortTotals> counted) const {
  for (std::size_t port = 0; port < std::min(counted.size(), accounts_.size()); ++port) {
    const auto& [carried, before] = accounts_[port];
    if (before) counted[port] = counted[port].since(*before);
    if (carried) counted[port] += *carried;
  }
  return counted;
}

void put_ports(const std::vector<PortPlan>& ports, const std::vector<PortTotals>& told, Totals& totals) {
  PortTotals any;
  for (const PortTotals& port : told)
    each_count(any, port, [](std::uint64_t& seen, std::uint64_t count) { seen |= count; });
  std::vector<std::size_t> columns;
  for (std::size_t column = 0; column < kColumnCount; ++column)
    if (cell(any, column) != 0) {
      columns.push_back(column);
      totals.columns.push_back(column_name(column));
    }
  for (std::size_t port = 0; port < ports.size(); ++port) {
    if (!ports[port].exists || told[port] == PortTotals{}) continue;
    std::vector<std::uint64_t>& row = totals.ports[ports[port].name];
    row.reserve(columns.size());
    for (const std::size_t column : columns) row.push_back(cell(told[port], column));
  }
}

}  // namespace vmnat::control
