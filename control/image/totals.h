// SPDX-License-Identifier: Apache-2.0
// Totals: what a process has counted, by name, so that the next one goes on from it whatever its counters are and
// wherever they stand.
//
//   {"counters":{"received":120,"sessions.created":7},"columns":["rx_packets","drop.runt"],"ports":{"vm1":[60,2]}}
//
// A name that the next process does not know is left out. Gauges are no totals, and are not kept.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conntrack/revival.h"

namespace vmnat::control {

struct Totals {
  std::map<std::string, std::uint64_t> counters;
  std::vector<std::string> columns;                         // what ports count
  std::map<std::string, std::vector<std::uint64_t>> ports;  // by name: by column
  bool operator==(const Totals&) const = default;
};

std::string to_json(const Totals& totals);
// Nothing when it is no such text.
std::optional<Totals> totals_in(std::string_view json);

// Totals of a process that has ended are made to add up. The frames whose end it has not counted are those that it
// held, and after a kill those that were on their way through since the totals were kept: they are `drop.restart`.
void settle_frames(Totals& totals);
// The same of sessions, by what was found of them: those that were opened or have ended since count as created, or as
// expired; those that do not go on are `sessions.lost`, or expired if their time was over.
void settle_sessions(Totals& totals, const conntrack::Revivals& found);

}  // namespace vmnat::control
