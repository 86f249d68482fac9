// SPDX-License-Identifier: Apache-2.0
// PortTotals: what all workers have counted for a port's number.
#pragma once

#include <array>
#include <cstdint>

#include "base/ids.h"
#include "control/gateway/workers.h"

namespace vmnat::control {

struct PortTotals {
  std::uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0, tx_refused = 0;
  std::array<std::uint64_t, dataplane::kDropReasonCount> drops{};

  // Without what was counted before.
  [[nodiscard]] PortTotals since(const PortTotals& before) const;
};
// Since the start, whoever has had the number.
PortTotals port_totals(const Workers& workers, PortIndex port);

}  // namespace vmnat::control
