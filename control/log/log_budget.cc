// SPDX-License-Identifier: Apache-2.0
#include "control/log/log_budget.h"

#include <algorithm>
#include <fmt/format.h>

namespace vmnat::control {

bool LogBudget::admits(const Subject& subject, Time now) {
  Budget& budget = budget_of(subject, now);
  const auto pauses = (now - budget.filled) / kPause;
  budget.lines = static_cast<unsigned>(std::min<std::int64_t>(kAtOnce, budget.lines + pauses));
  budget.filled += pauses * kPause;
  if (budget.lines != 0) {
    --budget.lines;
    return true;
  }
  if (budget.suppressed++ == 0) budget.told = now;
  ++waiting_;
  return false;
}

std::vector<std::string> LogBudget::take_suppressed(Time now) {
  std::vector<std::string> lines;
  if (waiting_ == 0) return lines;
  for (auto& [subject, budget] : budgets_) {
    if (budget.suppressed == 0 || now - budget.told < kPause) continue;
    lines.push_back(
        fmt::format("{}: {} more lines suppressed ({})", subject.second, budget.suppressed, subject.first));
    waiting_ -= std::exchange(budget.suppressed, 0);
  }
  return lines;
}

LogBudget::Budget& LogBudget::budget_of(const Subject& subject, Time now) {
  std::pair<std::string, std::string> key{subject.cause, subject.who};
  if (budgets_.size() >= kMostSubjects && !budgets_.contains(key)) key = {"other causes", "others"};
  return budgets_.try_emplace(std::move(key), Budget{.filled = now}).first->second;
}

}  // namespace vmnat::control
