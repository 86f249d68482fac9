// SPDX-License-Identifier: Apache-2.0
// Whether a new session may come in, and which half-open session goes for it.
//
// Each VM port has two allowances: one for the sessions that the VM opens, one for those that remotes open to
// it. So a flood of SYNs to a forward uses up only the second. Unless the operator has set limits, the
// allowances are shares of this worker's table, when it has several VMs:
//
//   a port's share   half of the table for what its VM opens; a quarter for what remotes open to it
//   a port's part    its even part of a quarter of the table: kept for it, whoever else has filled the rest
//
// A port at its share replaces a half-open session of its own. A port that finds the table full replaces a
// half-open session of its own, or of a port that has more sessions. A worker with a single VM gives it the
// whole table, and half of it to its remotes. A limit that the operator has set refuses what the VM opens
// beyond it, and ends nothing (RFC 6888 REQ-11).
#include <algorithm>

#include "conntrack/conntrack.h"

namespace vmnat::conntrack {
namespace {

constexpr std::uint32_t kLookedAt = 64;  // records, to find one to evict
constexpr unsigned kToChooseFrom = 4;    // of these, the one that has been silent longest goes
constexpr unsigned kAhead = 4;           // records prefetched
constexpr std::uint32_t kAll = 0xffff'ffff;

}  // namespace

void Conntrack::share_among(unsigned guests) {
  shares_ = guests > 1 ? std::array{capacity_ / 2, capacity_ / 4} : std::array{kAll, capacity_ / 2};
  part_ = guests > 1 ? capacity_ / 4 / guests : 0;
  all_parts_ = std::uint64_t{part_} * guests;
  parts_taken_ = 0;
  for (unsigned vm_port = 0; vm_port < vm_port_count_; ++vm_port)
    parts_taken_ += std::min(sessions_of(static_cast<PortIndex>(vm_port)), part_);
}

void Conntrack::enter_port(PortIndex vm_port, Direction opener) {
  parts_taken_ += sessions_of(vm_port) < part_ ? 1 : 0;
  ++vm_ports_[vm_port].opened_by[static_cast<unsigned>(opener)].sessions;
}

void Conntrack::leave_port(PortIndex vm_port, Direction opener) {
  --vm_ports_[vm_port].opened_by[static_cast<unsigned>(opener)].sessions;
  parts_taken_ -= sessions_of(vm_port) < part_ ? 1 : 0;
}

std::uint32_t Conntrack::most_sessions(Direction opener, const NatPolicy& policy) const {
  if (policy.sessions_per_port != 0) return policy.sessions_per_port;
  return std::max(1u, shares_[static_cast<unsigned>(opener)]);
}

// A port that has less than its part finds room as long as there is any. The others leave free what is
// missing of all parts.
bool Conntrack::has_room_for(PortIndex vm_port) const {
  const std::uint64_t free = capacity_ - counters_.active.get();
  const std::uint64_t kept = all_parts_ - std::min(all_parts_, parts_taken_);
  return free > (sessions_of(vm_port) < part_ ? 0 : kept);
}

Verdict Conntrack::admit(PortIndex vm_port, Direction opener, const NatPolicy& policy, Time now) {
  Allowance& allowance = vm_ports_[vm_port].opened_by[static_cast<unsigned>(opener)];
  const bool is_used_up = sessions_of(vm_port, opener) >= most_sessions(opener, policy);
  if (is_used_up && opener == Direction::Outbound && policy.sessions_per_port != 0)
    return Verdict::SessionLimit;
  // RFC 6888 REQ-4 and REQ-5: a bucket of one second's worth of sessions.
  const std::uint32_t rate = policy.new_sessions_per_second;
  if (rate != 0 && !allowance.opened_lately.take(now, rate, rate)) return Verdict::SessionRate;
  const auto is_of_allowance = [&](const Session& session) {
    return session.vm_port() == vm_port && session.opener() == opener;
  };
  if (is_used_up && !evict(now, is_of_allowance)) return Verdict::SessionLimit;
  if (has_room_for(vm_port)) return Verdict::Opened;
  const std::uint32_t own = sessions_of(vm_port);
  const auto yields = [&](const Session& session) {
    return session.opener() >= opener &&
           (session.vm_port() == vm_port || sessions_of(session.vm_port()) > own);
  };
  return evict(now, yields) && has_room_for(vm_port) ? Verdict::Opened : Verdict::TableFull;
}

// Evicts one half-open session of those that yield, if a bounded look finds any. Sessions that remotes have
// opened go first; of equal ones, the one that has been silent longest.
template <typename Predicate>
bool Conntrack::evict(Time now, Predicate yields) {
  const std::uint32_t end = high_water_.load(std::memory_order_relaxed);
  const auto rank = [&](const Session& session) {
    return std::pair(session.opener(), now - session.last_seen());
  };
  Session* chosen = nullptr;
  unsigned found = 0;
  for (std::uint32_t left = std::min(kLookedAt, end); left > 0 && found < kToChooseFrom; --left) {
    evict_position_ = evict_position_ + 1 < end ? evict_position_ + 1 : 0;
    Session& session = sessions_[evict_position_];
    __builtin_prefetch(&session + kAhead);
    if (!session.in_use() || session.is_assured() || is_in_play(session) || !yields(session)) continue;
    ++found;
    if (chosen == nullptr || rank(session) > rank(*chosen)) chosen = &session;
  }
  if (chosen == nullptr) return false;
  remove(*chosen, now);
  counters_.early_dropped.add(1);
  return true;
}

bool Conntrack::is_in_play(const Session& session) const {
  return std::ranges::find(in_play_, &session) != in_play_.end();
}

}  // namespace vmnat::conntrack
