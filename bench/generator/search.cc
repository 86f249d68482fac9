// SPDX-License-Identifier: Apache-2.0
// Bounds follow from the trials so far; the next load follows from the bounds.
#include "bench/generator/search.h"

#include <algorithm>
#include <cmath>

namespace vmnat::bench {
namespace {

constexpr unsigned kMostLoads = 60;  // a goal: 2^60 would be resolved by then

}  // namespace

RateSearch::Verdict RateSearch::verdict_on(double load, const Goal& goal) const {
  unsigned good = 0, bad = 0;
  for (const Trial& trial : trials_)
    if (trial.load == load) ++(trial.loss_ratio > goal.loss_ratio ? bad : good);
  // Decided as soon as no further trial can change it.
  const double tolerated = goal.exceed_ratio * goal.trials;
  if (bad > tolerated) return Verdict::Bad;
  return good >= goal.trials - tolerated ? Verdict::Good : Verdict::Open;
}

RateSearch::Bounds RateSearch::bounds_of(const Goal& goal) const {
  Bounds bounds;
  for (const Trial& trial : trials_)
    if (verdict_on(trial.load, goal) == Verdict::Bad)
      bounds.upper = std::min(trial.load, bounds.upper.value_or(trial.load));
  for (const Trial& trial : trials_)
    if (verdict_on(trial.load, goal) == Verdict::Good && (!bounds.upper || trial.load < *bounds.upper))
      bounds.lower = std::max(trial.load, bounds.lower.value_or(trial.load));
  return bounds;
}

std::optional<double> RateSearch::next_load(const Bounds& bounds, const Goal& goal, double& step) const {
  if (!bounds.lower && !bounds.upper) return std::clamp(range_.first_guess, range_.lowest, range_.highest);
  if (bounds.lower && bounds.upper) {
    if (*bounds.upper - *bounds.lower <= goal.width * *bounds.upper) return std::nullopt;
    return std::sqrt(*bounds.lower * *bounds.upper);
  }
  // One bound alone: away from it, in steps that double.
  const double from = bounds.lower ? *bounds.lower : *bounds.upper;
  if (from == (bounds.lower ? range_.highest : range_.lowest)) return std::nullopt;
  const double load = bounds.lower ? from * (1 + step) : from * (1 - std::min(step, 0.5));
  step *= 2;
  return std::clamp(load, range_.lowest, range_.highest);
}

void RateSearch::judge(double load, const Goal& goal) {
  while (verdict_on(load, goal) == Verdict::Open) {
    Trial trial = measure_(load);
    trial.load = load;
    trials_.push_back(trial);
  }
}

double RateSearch::forwarded_at(double load) const {
  std::vector<double> rates;
  for (const Trial& trial : trials_)
    if (trial.load == load) rates.push_back(trial.forwarded);
  if (rates.empty()) return 0;
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

Throughput RateSearch::find(const Goal& goal) {
  double step = 2 * goal.width;
  for (unsigned i = 0; i < kMostLoads; ++i) {
    const auto load = next_load(bounds_of(goal), goal, step);
    if (!load) break;
    judge(*load, goal);
  }
  const Bounds bounds = bounds_of(goal);
  const double lower = bounds.lower.value_or(0);
  return {.load = lower,
          .upper = bounds.upper.value_or(range_.highest),
          .forwarded = forwarded_at(lower),
          .is_range_exhausted = next_load(bounds, goal, step).has_value() || !bounds.lower || !bounds.upper};
}

}  // namespace vmnat::bench
