// SPDX-License-Identifier: Apache-2.0
#include "control/commands/invariants.h"

#include <nlohmann/json.hpp>
#include <thread>

namespace vmnat::control {

using admin::Answer;
using admin::Json;
using admin::Pull;

struct InvariantsCheck::Finding : dataplane::Inspection {
  bool holds = false;
  std::string why;
  static void count_through(const conntrack::Conntrack& conntrack, dataplane::Inspection& inspection) {
    auto& finding = static_cast<Finding&>(inspection);
    finding.why.clear();
    finding.holds = conntrack.check_invariants(&finding.why);
  }
};

InvariantsCheck::InvariantsCheck(Workers& workers) : workers_(workers) {
  for (std::size_t i = 0; i < workers.count(); ++i) {
    findings_.push_back(std::make_unique<Finding>());
    findings_.back()->look = Finding::count_through;
  }
}

// The workers outlive the daemon's commands: what is under way ends.
InvariantsCheck::~InvariantsCheck() {
  while (is_under_way()) std::this_thread::yield();
}

bool InvariantsCheck::is_under_way() const {
  for (std::size_t i = 0; i < workers_.count(); ++i)
    if (!workers_[i].inspection_box().is_idle()) return true;
  return false;
}

Result<Answer> InvariantsCheck::start() {
  if (is_under_way()) return tl::unexpected(Error{"", "a check of the invariants is under way"});
  for (std::size_t i = 0; i < findings_.size(); ++i) {
    workers_[i].inspection_box().ask(*findings_[i]);
    workers_[i].wake();
  }
  return Answer::list([this, next = std::size_t{0}](Json& item) mutable {
    if (next == findings_.size()) return Pull::End;
    if (!workers_[next].inspection_box().is_idle()) return Pull::Later;
    const Finding& finding = *findings_[next];
    item = {{"worker", next}, {"holds", finding.holds}, {"why", finding.holds ? Json() : Json(finding.why)}};
    ++next;
    return Pull::Item;
  });
}

}  // namespace vmnat::control
