// SPDX-License-Identifier: Apache-2.0
#include "control/uplink/failover.h"

namespace vmnat::control {

bool UplinkFailover::note(PortIndex uplink, UplinkTrouble trouble, SteadyTime now) {
  Seen& seen = seen_[uplink];
  const bool was_usable = is_usable(uplink);
  seen.trouble = trouble;
  if (is_usable(uplink) == was_usable) return false;
  seen.was_usable = true;
  if (!was_usable) seen.since = now;
  return true;
}

PortIndex UplinkFailover::choose(PortIndex preferred, PortIndex current, SteadyTime now) const {
  if (current == preferred && may_stay(current, now)) return current;
  if (is_better(preferred, current, now)) return preferred;
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    const auto uplink = static_cast<PortIndex>(i);
    if (uplink == current && may_stay(current, now)) return current;
    if (is_better(uplink, current, now)) return uplink;
  }
  return current;
}

bool UplinkFailover::may_stay(PortIndex uplink, SteadyTime now) const {
  return is_usable(uplink) || (!seen_[uplink].was_usable && now - start_ < kStart);
}

// Of one that stands before the current one.
bool UplinkFailover::is_better(PortIndex candidate, PortIndex current, SteadyTime now) const {
  if (candidate == current || !is_usable(candidate)) return false;
  return !may_stay(current, now) || now - seen_[candidate].since >= kHold;
}

}  // namespace vmnat::control
