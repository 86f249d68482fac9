// SPDX-License-Identifier: Apache-2.0
// Sessions of an earlier process enter the tables. A million of them: memory is asked for some sessions ahead.
#include <algorithm>

#include "conntrack/conntrack.h"

namespace vmnat::conntrack {
namespace {

// Each is on some ten pages of large tables. Of many at once the first are gone from the TLB when the last is asked for:
// a million sessions take 271 ms by 6, 300 by 8, 385 by 64 (medians of conntrack_bench, restore/1048576).
constexpr std::size_t kAtOnce = 6;

// In the future are only damaged records, and those of a clock that was a tick ahead.
Time seen_until(Time now, const Session& former) {
  return (now - former.last_seen()).count() > UINT32_MAX / 2 ? now : former.last_seen();
}

}  // namespace

void Conntrack::restore(std::span<const Former> burst, Time now, Revivals& counts) {
  while (!burst.empty()) {
    const auto few = burst.first(std::min(burst.size(), kAtOnce));
    restore_few(few, now, counts);
    burst = burst.subspan(few.size());
  }
}

// In three stages: (1) the primary buckets of both keys and of the mapping, and its slot; (2) the other buckets
// of those that are full; (3) the sessions enter.
void Conntrack::restore_few(std::span<const Former> few, Time now, Revivals& counts) {
  for (const Former& former : few) prefetch_revive(former.record);
  for (const Former& former : few) {
    index_.prefetch_room(place(former.record.outbound_key()));
    index_.prefetch_room(place(former.record.inbound_key()));
  }
  for (const Former& former : few) ++counts[static_cast<unsigned>(revive(former, now))];
}

void Conntrack::prefetch_revive(const Session& former) const {
  index_.prefetch(place(former.outbound_key()).bucket);
  index_.prefetch(place(former.inbound_key()).bucket);
  const PortSpace space = port_space(former.protocol());
  const auto external = addresses_->index_of(former.external().address);
  if (space == PortSpace::None || !external) return;
  mappings_.prefetch(Mappings::Slot{*external, space, former.external().port});
  mappings_.prefetch(former.internal(), space);
}

// What would become of it, but for its port and the room in the tables.
Revival Conntrack::reviving(const Former& former, Time now) const {
  const Session& record = former.record;
  const NatPolicy& policy = policies_[former.policy];
  const auto external = addresses_->index_of(record.external().address);
  const bool is_given = former.is_forwarded;  // by the configuration
  if (record.is_untranslated() ? !is_given : !external || (!is_given && !policy.has(*external)))
    return Revival::NotExternal;
  const std::size_t row = former.policy * kTimeoutRow;
  const Ticks timeout{timeouts_[row + static_cast<unsigned>(record.state())].load(std::memory_order_relaxed)};
  if (now - seen_until(now, record) >= timeout) return Revival::TimedOut;
  if (is_taken(record.outbound_key()) || is_taken(record.inbound_key())) return Revival::Damaged;
  if (port_space(record.protocol()) == PortSpace::None)
    return ports_.portless_owner(record.remote().address) == worker_ ? Revival::Restored : Revival::Damaged;
  if (is_given) return Revival::Restored;
  const Mappings::Slot slot{*external, port_space(record.protocol()), record.external().port};
  if (!may_keep(slot)) return Revival::NotExternal;
  return has_mapping_at_odds(former, slot) ? Revival::Damaged : Revival::Restored;
}

// Of an address that drains sessions go on, as they would without a restart.
bool Conntrack::may_keep(Mappings::Slot slot) const {
  return addresses_->is_draining(slot.external) || addresses_->is_allowed(slot.external, slot.port);
}

// A session that shares its internal endpoint's mapping: the slot is that endpoint's, or will be.
bool Conntrack::has_mapping_at_odds(const Former& former, Mappings::Slot slot) const {
  if (former.record.has(Session::kPrivatePort)) return false;
  const net::Endpoint internal = former.record.internal();
  if (const auto bound = mappings_.internal_of(slot)) return *bound != internal;
  const NatPolicy& policy = policies_[former.policy];
  const auto is_of_the_pool = [&](Mappings::Slot other) {
    return policy.pools_by_address.empty() ||
           policy.is_in_pool(other.external, policy.pools_by_address[slot.external]);
  };
  return mappings_.find(internal, slot.space, is_of_the_pool).has_value();
}

bool Conntrack::take_former_port(const Former& former, Mappings::Slot slot) {
  revive_block(former, slot);
  if (mappings_.sessions(slot) == 0 && may_keep(slot) &&
      !pool_.take_again(slot.external, slot.space, slot.port))
    return false;
  const bool is_shared = !former.is_forwarded && !former.record.has(Session::kPrivatePort);
  if (is_shared && !mappings_.internal_of(slot)) mappings_.bind(slot, former.record.internal());
  return true;
}

Revival Conntrack::revive(const Former& former, Time now) {
  if (const Revival revival = reviving(former, now); revival != Revival::Restored) return revival;
  const Session& record = former.record;
  if (counters_.active.get() == capacity_) return Revival::NoRoom;
  const PortSpace space = port_space(record.protocol());
  const net::Endpoint external = record.external();
  const auto address = addresses_->index_of(external.address);  // nothing: it is not translated
  if (address && space != PortSpace::None && !take_former_port(former, {*address, space, external.port}))
    return Revival::PortTaken;
  Session& session = take_record();
  session.revive(record, former.policy, former.vm_port, seen_until(now, record));
  if (!enter(session, now)) return Revival::NoRoom;
  enter_port(former.vm_port, session.opener());
  counters_.restored.add(1);
  return Revival::Restored;
}

}  // namespace vmnat::conntrack
