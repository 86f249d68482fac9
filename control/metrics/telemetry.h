// SPDX-License-Identifier: Apache-2.0
// Telemetry: what DPDK's telemetry socket answers under /vmnat, for those whose dataplane.eal has "--telemetry":
//
//   /vmnat/counters       `vmnatctl counters`, with "/" in names where those have a dot
//   /vmnat/ports          names of ports; with one, "/vmnat/ports,vm1", its frames, bytes and drops
//   /vmnat/workers        numbers of workers; with one, its cycles, frames and sessions
//
// DPDK answers on a thread of its own, and control's objects are control's. So control writes all of it on a board
// once a second, under a lock that workers know nothing of, and that thread reads the board and nothing else.
#pragma once

#include "control/commands/context.h"
#include "control/commands/statistics.h"

namespace vmnat::metrics {

class Telemetry {
 public:
  // Registers the commands, once, if the EAL's arguments want telemetry.
  explicit Telemetry(const control::CommandContext& at);
  Telemetry(const Telemetry&) = delete;
  Telemetry& operator=(const Telemetry&) = delete;
  ~Telemetry();  // wipes the board

  // Writes the board anew.
  void show(const control::Counts& counts);

 private:
  const control::CommandContext at_;
  bool is_on_;
};

}  // namespace vmnat::metrics
