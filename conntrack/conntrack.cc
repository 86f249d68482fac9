// SPDX-License-Identifier: Apache-2.0
// Lookup, policies, expiry and erasure. The rest of Conntrack: conntrack_open.cc, conntrack_fixed.cc and
// conntrack_admission.cc (opening sessions), conntrack_tcp_tracking.cc (what TCP segments do to them),
// conntrack_create.cc, conntrack_snapshot.cc (reading them on other threads), conntrack_events.cc (telling others of
// them), conntrack_blocks.cc (VMs' blocks of ports).
#include "conntrack/conntrack.h"

#include <algorithm>

namespace vmnat::conntrack {
namespace {

constexpr Ticks kTurn = std::chrono::seconds(4);  // every record is looked at within this time
constexpr unsigned kSweepBatch = 32;              // expired sessions whose memory is fetched together
constexpr unsigned kSweepAhead = 8;               // records prefetched by the sweep

Ticks timeout_for(TimeoutClass timeout, const Timeouts& timeouts) {
  switch (timeout) {
    case TimeoutClass::TcpEstablished:
      return timeouts.tcp_established;
    case TimeoutClass::TcpTransitory:
      return timeouts.tcp_transitory;
    case TimeoutClass::Udp:
      return timeouts.udp;
    case TimeoutClass::UdpAnswered:
      return std::min(timeouts.udp_answered, timeouts.udp);
    case TimeoutClass::Icmp:
      return timeouts.icmp;
    case TimeoutClass::Other:
      return timeouts.other;
  }
  return timeouts.other;
}

}  // namespace

void Conntrack::set_policies(std::span<const NatPolicy> policies) {
  const std::size_t changed = std::max(policies_.size(), policies.size());
  policies_ = policies;
  for (std::size_t id = 0; id < changed; ++id) {
    const Timeouts timeouts = id < policies.size() ? policies[id].timeouts : Timeouts{};
    for (unsigned state = 0; state < kSessionStates; ++state) {
      const Ticks timeout = timeout_for(timeout_class(static_cast<SessionState>(state)), timeouts);
      timeouts_[id * kTimeoutRow + state].store(timeout.count(), std::memory_order_relaxed);
    }
  }
}

void Conntrack::follow(const ExternalAddresses& addresses, std::span<const NatPolicy> policies) {
  if (&addresses != addresses_) {
    leave_blocks(addresses);
    addresses_ = &addresses;
    address_count_.store(addresses.size(), std::memory_order_relaxed);
    pool_.follow(addresses);
    planes_.forget_no_room();
  }
  set_policies(policies);
}

Session* Conntrack::find(const FlowKey& key) {
  const std::uint32_t found =
      index_.find(place(key), [&](std::uint32_t record) { return sessions_[record].is_for(key); });
  return found == TagIndex::kNothing ? nullptr : &sessions_[found];
}

// In stages over the whole burst: (1) hash all keys and prefetch their buckets; (2) compare all tags and
// prefetch the sessions, and the second buckets of the few keys that may be there; (3) compare the tags of
// those; (4) compare all sessions.
unsigned Conntrack::find_burst(std::span<const FlowKey> keys, Session** found) {
  std::array<TagIndex::Place, kMaxBurst> places;
  std::array<std::uint32_t, kMaxBurst> candidates;
  std::array<std::uint8_t, kMaxBurst> second;
  unsigned seconds = 0;
  const auto count = static_cast<unsigned>(std::min<std::size_t>(keys.size(), kMaxBurst));
  for (unsigned i = 0; i < count; ++i) {
    places[i] = place(keys[i]);
    index_.prefetch(places[i].bucket);
  }
  const auto note_candidate = [&](unsigned i, std::uint32_t bucket, std::uint32_t bits) {
    candidates[i] = index_.value_at(bucket, static_cast<unsigned>(__builtin_ctz(bits)) / 2);
    __builtin_prefetch(&sessions_[candidates[i]], 1);
  };
  for (unsigned i = 0; i < count; ++i) {
    candidates[i] = TagIndex::kNothing;
    const std::uint32_t bits = index_.matches(places[i].bucket, places[i].tag);
    if (bits != 0) {
      note_candidate(i, places[i].bucket, bits);
    } else if (index_.may_overflow(places[i])) {
      index_.prefetch(index_.other_bucket(places[i].bucket, places[i].tag));
      second[seconds++] = static_cast<std::uint8_t>(i);
    }
  }
  for (unsigned at = 0; at < seconds; ++at) {
    const TagIndex::Place place = places[second[at]];
    const std::uint32_t bucket = index_.other_bucket(place.bucket, place.tag);
    const std::uint32_t bits = index_.matches(bucket, place.tag);
    if (bits != 0) note_candidate(second[at], bucket, bits);
  }
  unsigned hits = 0;
  for (unsigned i = 0; i < count; ++i) {
    found[i] = nullptr;
    if (candidates[i] == TagIndex::kNothing) continue;
    Session& candidate = sessions_[candidates[i]];
    found[i] = candidate.is_for(keys[i]) ? &candidate : find(keys[i]);  // two equal tags: once in thousands
    hits += found[i] != nullptr;
  }
  return hits;
}

bool Conntrack::is_taken(const FlowKey& inbound) const {
  return index_.find(place(inbound), [&](std::uint32_t record) {
    return sessions_[record].is_for(inbound);
  }) != TagIndex::kNothing;
}

Ticks Conntrack::timeout_of(const Session& session) const {
  const std::size_t at = session.policy() * kTimeoutRow + static_cast<unsigned>(session.state());
  return Ticks{timeouts_[at].load(std::memory_order_relaxed)};
}

bool Conntrack::is_expired(const Session& session, Time now) const {
  return session.in_use() && now - session.last_seen() >= timeout_of(session);
}

unsigned Conntrack::expire(Time now, unsigned budget) {
  now_ = now;
  if (sweep_.position == sweep_.length) {  // a new turn, not before the last one's time is over
    if (sweep_.length != 0 && now - sweep_.started < kTurn) return 0;
    sweep_ = {0, high_water_.load(std::memory_order_relaxed), now};
    return_blocks(now);
  }
  // One tick ahead of an even pace: a turn is complete before its 4 s are over.
  const std::uint64_t elapsed = (now - sweep_.started).count() + 1;
  const auto due = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(sweep_.length, sweep_.length * elapsed / kTurn.count()));
  unsigned expired = 0;
  std::array<Session*, kSweepBatch> ended;
  while (budget > 0 && sweep_.position < due) {
    unsigned count = 0;
    for (; budget > 0 && sweep_.position < due && count < kSweepBatch; --budget, ++sweep_.position) {
      Session& session = sessions_[sweep_.position];
      __builtin_prefetch(&session + kSweepAhead);
      if (!is_expired(session, now)) continue;
      prefetch_remove(session);
      ended[count++] = &session;
    }
    for (unsigned i = 0; i < count; ++i) remove(*ended[i], now);
    expired += count;
  }
  if (expired > 0) counters_.expired.add(expired);
  return expired;
}

// What remove() reads: two buckets and the mapping's slot and bucket, all far apart.
void Conntrack::prefetch_remove(const Session& session) const {
  index_.prefetch(place(session.outbound_key()).bucket);
  index_.prefetch(place(session.inbound_key()).bucket);
  const PortSpace space = port_space(session.protocol());
  if (space == PortSpace::None) return;
  const net::Endpoint external = session.external();
  const auto address = addresses_->index_of(external.address);
  if (!address) return;
  mappings_.prefetch(Mappings::Slot{*address, space, external.port});
  mappings_.prefetch(session.internal(), space);
}

void Conntrack::erase(Session& session, Time now) {
  remove(session, now);
  counters_.erased.add(1);
}

void Conntrack::unmap_others(net::Endpoint external, net::Protocol protocol, net::Endpoint internal) {
  const auto address = addresses_->index_of(external.address);
  const PortSpace space = port_space(protocol);
  if (!address || space == PortSpace::None) return;
  const Mappings::Slot slot{*address, space, external.port};
  if (mappings_.internal_of(slot).value_or(internal) != internal) mappings_.unbind(slot);
  counters_.mappings.set(mappings_.size());
}

void Conntrack::remove(Session& session, Time now) {
  announce(EventKind::Ended, session, now);
  const std::uint32_t record = number(session);
  index_.erase(place(session.outbound_key()), record);
  index_.erase(place(session.inbound_key()), record);
  if (session.has(Session::kPermits)) permissions_.withdraw(session.inbound_key());
  release_external(session.inbound_key(), now);
  leave_port(session.vm_port(), session.opener());
  session.free(first_free_);
  first_free_ = record;
  counters_.active.subtract(1);
}

void Conntrack::release_external(const FlowKey& inbound, Time now) {
  const net::Endpoint external = inbound.local_endpoint();
  const auto address = addresses_->index_of(external.address);
  if (!address) return;  // it was not translated
  sessions_at_[*address].subtract(1);
  const PortSpace space = port_space(inbound.protocol());
  if (space == PortSpace::None) return;
  planes_.note(RemotePlanes::key_of(inbound.remote, *address), external.port, false);
  if (mappings_.remove_session({*address, space, external.port}))
    pool_.release(*address, space, external.port, now);
  counters_.mappings.set(mappings_.size());
}

void Conntrack::move(Session& session, PortIndex vm_port, net::MacAddr mac) {
  leave_port(session.vm_port(), session.opener());
  enter_port(vm_port, session.opener());
  session.set_place(vm_port, mac);
}

}  // namespace vmnat::conntrack
