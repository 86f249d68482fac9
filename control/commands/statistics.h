// SPDX-License-Identifier: Apache-2.0
// The workers' counters added up, and every counter by its public name.
#pragma once

#include <map>
#include <string>

#include "base/ids.h"
#include "control/gateway/launch.h"
#include "control/slow_path/slow_path.h"
#include "control/watch/exhaustion.h"

namespace vmnat::control {

struct PortTotals {
  std::uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0;
  std::array<std::uint64_t, dataplane::kDropReasonCount> drops{};
};
PortTotals port_totals(const Launched& launched, PortIndex port);

// Each worker's refused sessions.
RefusedByWorker refused_by_worker(const Launched& launched);

std::uint64_t active_sessions(const Launched& launched);

// Names are part of the interface: `received`, `drop.<reason>`, `sessions.active`, ...; those that are zero,
// too.
std::map<std::string, std::uint64_t> all_counters(const Launched& launched, const SlowPath& slow_path);

}  // namespace vmnat::control
