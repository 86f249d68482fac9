// SPDX-License-Identifier: Apache-2.0
// The workers' counters added up, and every counter by its public name.
#pragma once

#include <map>
#include <string>

#include "base/ids.h"
#include "control/commands/context.h"

namespace vmnat::control {

struct PortTotals {
  std::uint64_t rx_packets = 0, rx_bytes = 0, tx_packets = 0, tx_bytes = 0;
  std::array<std::uint64_t, dataplane::kDropReasonCount> drops{};
};
PortTotals port_totals(const Workers& workers, PortIndex port);

std::uint64_t active_sessions(const Workers& workers);
std::uint64_t sessions_at(const Workers& workers, conntrack::ExternalIndex external);

// Names are part of the interface: `received`, `drop.<reason>`, `sessions.active`, ...; those that are zero,
// too.
std::map<std::string, std::uint64_t> all_counters(const CommandContext& at);

}  // namespace vmnat::control
