// SPDX-License-Identifier: Apache-2.0
// The `flush` command: a client's filter made a WorkerFlush, and its answer.
#pragma once

#include "control/admin/server.h"
#include "control/admin/session_filter.h"
#include "control/gateway/gateway.h"
#include "control/gateway/worker_flush.h"

namespace vmnat::control {

class SessionFlusher {
 public:
  SessionFlusher(const config::Config& config, const std::vector<PortPlan>& ports, Workers& workers,
                 FlushTurns& turns)
      : config_(config), ports_(ports), workers_(workers), turns_(turns) {}

  // Errors: a filter that cannot be read, names what does not exist, or is missing without `all`.
  Result<admin::Answer> flush(const admin::Json& arguments);

 private:
  const config::Config& config_;
  const std::vector<PortPlan>& ports_;
  Workers& workers_;
  FlushTurns& turns_;
};

// What the filter selects, in the workers' terms; its names are known to exist.
Result<dataplane::SessionSelector> selector_for(const admin::SessionFilter& filter,
                                                const config::Config& config,
                                                const std::vector<PortPlan>& ports);

}  // namespace vmnat::control
