// SPDX-License-Identifier: Apache-2.0
// The `flush` command: every worker ends the sessions that were selected, bit by bit, while control goes on.
//
// One flush is under way at a time; others wait for their turn. A client that goes away gives its turn back,
// and what its flush had begun is finished.
#pragma once

#include <memory>

#include "control/admin/server.h"
#include "control/admin/session_filter.h"
#include "control/launch.h"

namespace vmnat::control {

class SessionFlusher {
 public:
  SessionFlusher(const config::Config& config, const Launched& launched)
      : config_(config), launched_(launched), turn_(std::make_shared<Turn>()) {}

  // Errors: a filter that cannot be read, names what does not exist, or is missing without `all`.
  Result<admin::Answer> flush(const admin::Json& arguments);

 private:
  class Flush;
  using Turn = std::weak_ptr<Flush>;  // whose it is; expired: nobody's

  const config::Config& config_;
  const Launched& launched_;
  std::shared_ptr<Turn> turn_;
};

// What the filter selects, in the workers' terms; its names are known to exist.
Result<dataplane::SessionSelector> selector_for(const admin::SessionFilter& filter,
                                                const config::Config& config,
                                                const std::vector<PortPlan>& ports);

}  // namespace vmnat::control
