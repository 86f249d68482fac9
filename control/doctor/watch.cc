// SPDX-License-Identifier: Apache-2.0
#include "control/doctor/watch.h"

#include <algorithm>
#include <utility>

namespace vmnat::doctor {
namespace {

// None when it has been counted anew.
std::uint64_t growth(std::uint64_t now, std::uint64_t before) {
  return now < before ? 0 : now - before;
}

PortCounts growth(const PortCounts& now, const PortCounts& before) {
  return {.received = growth(now.received, before.received),
          .taken = growth(now.taken, before.taken),
          .untaken = growth(now.untaken, before.untaken),
          .spoofed = growth(now.spoofed, before.spoofed),
          .over_budget = growth(now.over_budget, before.over_budget),
          .refused_connections = growth(now.refused_connections, before.refused_connections),
          .refused_messages = growth(now.refused_messages, before.refused_messages)};
}

}  // namespace

void Watch::look(std::vector<PortSample> ports, const CommonCounts& counts, SteadyTime now, WallTime wall) {
  const bool is_first = !wall_ahead_;
  now_ = now;
  watch_clock(wall);
  ports_.resize(std::max(ports_.size(), ports.size()));
  for (std::size_t i = 0; i < ports.size(); ++i) see(ports_[i], std::move(ports[i]));
  counts_ = counts;
  if (is_first) recent_from_ = period_from_ = counts;
  if (is_first) period_end_ = now + kPeriod;
  if (now >= period_end_) end_period();
}

void Watch::see(Seen& seen, PortSample sample) const {
  const bool is_another = seen.last.name != sample.name;
  if (is_another) seen.recent_from = seen.period_from = sample.counts;
  if (is_another || seen.last.is_up != sample.is_up || seen.last.attachment != sample.attachment) {
    seen.changed = now_;
    seen.at_change = sample.counts;
  }
  seen.last = std::move(sample);
}

void Watch::end_period() {
  period_end_ = now_ + kPeriod;
  for (Seen& seen : ports_) seen.recent_from = std::exchange(seen.period_from, seen.last.counts);
  recent_from_ = std::exchange(period_from_, counts_);
}

// Between two looks, however far apart, both clocks should go on by the same.
void Watch::watch_clock(WallTime wall) {
  const std::chrono::nanoseconds ahead = wall.time_since_epoch() - now_.time_since_epoch();
  const auto before = std::exchange(wall_ahead_, ahead);
  if (!before) return;
  const auto jump = std::chrono::duration_cast<std::chrono::milliseconds>(ahead - *before);
  if (std::chrono::abs(jump) >= kJump) step_ = {now_, jump};
}

void Watch::fill(std::size_t port, LivePort& facts) const {
  if (port >= ports_.size() || ports_[port].last.name != facts.name) return;
  const Seen& seen = ports_[port];
  facts.is_up = seen.last.is_up;
  facts.attachment = seen.last.attachment;
  facts.unchanged = std::chrono::duration_cast<std::chrono::seconds>(now_ - seen.changed);
  facts.since_change = growth(seen.last.counts, seen.at_change);
  facts.recent = growth(seen.last.counts, seen.recent_from);
}

CommonCounts Watch::recent() const {
  return {.conflicts = growth(counts_.conflicts, recent_from_.conflicts),
          .refused_sessions = growth(counts_.refused_sessions, recent_from_.refused_sessions)};
}

std::optional<ClockStep> Watch::clock_step() const {
  if (!step_) return std::nullopt;
  return ClockStep{.by = step_->second,
                   .ago = std::chrono::duration_cast<std::chrono::seconds>(now_ - step_->first)};
}

}  // namespace vmnat::doctor
