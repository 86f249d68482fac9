// SPDX-License-Identifier: Apache-2.0
// RuleLog: lines about frames that have met a rule with `log`, with a budget for each rule.
#pragma once

#include <cstdint>
#include <vector>

#include "base/time.h"
#include "control/log/log_budget.h"
#include "control/plan/ports.h"
#include "dataplane/context/filter_rules.h"

namespace vmnat::control {

class RuleLog {
 public:
  // Both outlive it.
  RuleLog(const std::vector<PortPlan>& ports, LogBudget& log) : ports_(ports), log_(log) {}

  // What workers have told by now. `rules`: those in effect; null: there are none.
  void tell(const dataplane::FilterRules* rules, SteadyTime now);

 private:
  void tell(const dataplane::FilterRules& rules, const dataplane::RuleEvent& event, SteadyTime now);

  const std::vector<PortPlan>& ports_;
  LogBudget& log_;
  std::uint64_t missed_ = 0;  // of the rules in effect, told so far
};

// "in tcp 198.51.100.7:4000 > local port 22"
std::string to_string(const dataplane::RuleEvent& event);

}  // namespace vmnat::control
