// SPDX-License-Identifier: Apache-2.0
// Granting and withdrawing, counted by session.
#include "conntrack/permissions.h"

namespace vmnat::conntrack {

std::uint32_t Permissions::find(const FlowKey& inbound) const {
  const FlowKey group = grouped(inbound);
  return index_.find(place(group), [&](std::uint32_t at) {
    return grants_[at].external_and_protocol == group.remote && grants_[at].remote_address == group.local;
  });
}

bool Permissions::grant(const FlowKey& inbound) {
  if (const std::uint32_t at = find(inbound); at != TagIndex::kNothing) {
    ++grants_[at].sessions;
    return true;
  }
  const std::uint32_t used = used_.load(std::memory_order_relaxed);
  const std::uint32_t at = first_free_ != kNone ? first_free_ : used;
  if (at >= grants_.size()) return false;
  const FlowKey group = grouped(inbound);
  if (!index_.insert(place(group), at)) return false;
  if (at == used)
    used_.store(used + 1, std::memory_order_relaxed);
  else
    first_free_ = grants_[at].sessions;
  grants_[at] = {group.remote, static_cast<std::uint32_t>(group.local), 1};
  return true;
}

void Permissions::withdraw(const FlowKey& inbound) {
  const std::uint32_t at = find(inbound);
  if (at == TagIndex::kNothing || --grants_[at].sessions > 0) return;
  index_.erase(place(grouped(inbound)), at);
  grants_[at].sessions = first_free_;
  first_free_ = at;
}

}  // namespace vmnat::conntrack
