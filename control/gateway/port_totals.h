// SPDX-License-Identifier: Apache-2.0
// PortTotals: what was counted for a port's number. PortAccounts: what of that, and of what the process before has
// counted, is told of the port that has the number now.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "control/gateway/workers.h"
#include "control/image/totals.h"
#include "control/plan/ports.h"
#include "dhcp/counters.h"

namespace vmnat::control {

struct PortTotals {
  std::uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0, tx_refused = 0;
  std::uint64_t limited_out = 0, limited_in = 0, limited_dropped = 0;  // by their limits
  std::array<std::uint64_t, dataplane::kDropReasonCount> drops{};
  // By control, of the port's device and DHCP messages.
  std::uint64_t rings_deferred = 0, refused_connections = 0, refused_messages = 0;
  dhcp::IgnoredCounts ignored{};

  PortTotals& operator+=(const PortTotals& more);
  // Without what was counted before.
  [[nodiscard]] PortTotals since(const PortTotals& before) const;
  bool operator==(const PortTotals&) const = default;
};

// By workers, of numbers 0 to `ports` - 1, since the start, whoever has had them. While frames are on their way the counts of how
// they ended never run ahead of the counts of how they came.
std::vector<PortTotals> port_totals(const Workers& workers, std::size_t ports);

class PortAccounts {
 public:
  // `first` have their numbers from the start on, and go on from what `carried` has of their names.
  PortAccounts(const std::vector<PortPlan>& first, const Totals& carried);

  // A port that has come, to a number for which so much had been counted: it starts at 0.
  void begin(PortIndex port, const PortTotals& counted);
  // By PortIndex, of what was counted since the start.
  [[nodiscard]] std::vector<PortTotals> told(std::vector<PortTotals> counted) const;

 private:
  struct Account {
    std::optional<PortTotals> carried, before;
  };
  std::vector<Account> accounts_;  // by PortIndex
};

// Into the totals that the next process goes on from: of those ports that there are. Columns that are 0 for all ports are
// left out, and so are ports that have counted nothing.
void put_ports(const std::vector<PortPlan>& ports, const std::vector<PortTotals>& told, Totals& totals);

}  // namespace vmnat::control
