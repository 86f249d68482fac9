// SPDX-License-Identifier: Apache-2.0
// The workers' counters added up, and every counter by its public name.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/commands/context.h"

namespace vmnat::control {

// Of a port: "uplink", and empty when it has left.
std::string network_name(const CommandContext& at, const PortPlan& port);
// Sentences: what vmnatd runs without, and what to do.
std::vector<std::string> notes(const CommandContext& at);

std::uint64_t active_sessions(const Workers& workers);
std::uint64_t sessions_at(const Workers& workers, conntrack::ExternalIndex external);

struct Counts {
  // Names are part of the interface: `received`, `drop.<reason>`, `sessions.active`, ...; those that are zero, too.
  std::map<std::string, std::uint64_t> named;
  std::vector<PortTotals> ports;  // by PortIndex
};
// Of this process, and all but the gauges on top of those before. They are kept for the next process before anybody is
// told of them: so no counter that was read goes back, even when the next instruction is the last one.
Counts keep_counts(const CommandContext& at);

}  // namespace vmnat::control
