// SPDX-License-Identifier: Apache-2.0
// Exhaustion: the sessions that workers refuse for want of a port or by a limit, as control tells them: the
// remotes that most were refused towards, and a line in the log.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/config/model.h"
#include "control/plan/ports.h"
#include "dataplane/context/refused_remotes.h"

namespace vmnat::control {

using RefusedByWorker = std::vector<dataplane::RefusedRemotes::Copy>;

// All workers' rows as one list, most refusals first.
std::vector<dataplane::RefusedRemotes::Row> most_refused(const RefusedByWorker& by_worker);

// Called once a second, so that the log has a line a second at most: "sessions refused: 1234 since the last
// word, at last network default, port vm1, remote 198.51.100.7: no_port".
class ExhaustionWatch {
 public:
  // `config` has its networks at their numbers; both outlive it.
  ExhaustionWatch(const config::Config& config, const std::vector<PortPlan>& ports)
      : config_(config), ports_(ports) {}
  std::optional<std::string> news(const RefusedByWorker& by_worker);

 private:
  const config::Config& config_;
  const std::vector<PortPlan>& ports_;
  std::vector<std::uint64_t> told_;  // by worker: refusals that were in a line
};

}  // namespace vmnat::control
