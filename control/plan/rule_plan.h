// SPDX-License-Identifier: Apache-2.0
// RulePlan: the rules of networks and ports as workers have them, and who is who among them for people.
//
// A plan that follows another one has its accounts where a rule is the same, of the same port or network, so that
// counts go on; the table of librte_acl, which takes the longest to make, where all rules are; and all of it where
// nothing is different.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/config/model.h"
#include "control/plan/ports.h"
#include "control/result.h"
#include "dataplane/context/filter_rules.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

// One rule, or what holds where none matches.
struct PlannedRule {
  std::string network, port;  // port: empty, it is the network's
  std::size_t place = 0;      // in its list of the file, from 1 on; 0: where none matches
  config::FilterRule rule;    // of place 0 the direction and the action alone
  std::shared_ptr<const dataplane::RuleAccount> account;
};

struct RulePlan {
  std::shared_ptr<const dataplane::FilterRules> filter;   // null: there are no rules
  std::shared_ptr<const std::vector<PlannedRule>> rules;  // by RuleNumber; null likewise
  std::vector<dataplane::RuleList> lists;                 // what the table was made of
  std::uint16_t epoch = 0;                                // of the last filter that there was
};

// `config` has its networks at their numbers. An Error: there is no memory for them.
Result<RulePlan> plan_rules(const config::Config& config, const std::vector<PortPlan>& ports,
                            unsigned workers, const RulePlan& former = {});

// The workers go by these from the state on.
void set_rules(const std::shared_ptr<const dataplane::FilterRules>& rules, dataplane::ForwardingState& state);

}  // namespace vmnat::control
