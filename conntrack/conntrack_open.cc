// SPDX-License-Identifier: Apache-2.0
// Opening a session: the choice of an external endpoint, and the record. Runs once per session. Nothing here
// allocates, and every search is bounded. Whether there is room for the session is decided in
// conntrack_admission.cc.
#include <algorithm>
#include <bit>

#include "conntrack/conntrack.h"

namespace vmnat::conntrack {
namespace {

constexpr unsigned kOverloadTries = 8;  // random ones, before a plane is made (remote_planes.h)

bool is_well_known(net::L4Port port) {
  return port.host() < 1024;  // RFC 6335 section 6
}

SessionState first_tcp_state(Direction direction, std::uint8_t flags) {
  const bool is_outbound = direction == Direction::Outbound;
  if (tcp_event(flags) == TcpEvent::Syn)
    return is_outbound ? SessionState::SynOutbound : SessionState::SynInbound;
  return is_outbound ? SessionState::PickedUpOutbound : SessionState::PickedUpInbound;
}

struct Opening {
  Direction direction;
  std::uint8_t tcp_flags;
  bool is_of_well_known_service;
};

SessionState first_state(net::Protocol protocol, const Opening& opening) {
  switch (protocol) {
    case net::Protocol::Tcp:
      return first_tcp_state(opening.direction, opening.tcp_flags);
    case net::Protocol::Udp:  // RFC 4787 REQ-5a
      return opening.is_of_well_known_service ? SessionState::AskedUdp : SessionState::OpenUdp;
    case net::Protocol::Icmp:
      return SessionState::OpenIcmp;
  }
  return SessionState::OpenOther;
}

// A SYN without ACK, RST and FIN: no other segment starts a connection.
bool starts_connection(std::uint8_t tcp_flags) {
  return tcp_event(tcp_flags) == TcpEvent::Syn && (tcp_flags & net::TcpHeader::kFin) == 0;
}

// All segments of a connection but its first ones and a RST have an ACK.
bool goes_on(std::uint8_t tcp_flags) {
  return (tcp_flags & net::TcpHeader::kAck) != 0 &&
         (tcp_flags & (net::TcpHeader::kSyn | net::TcpHeader::kRst)) == 0;
}

}  // namespace

bool Conntrack::may_open(net::Protocol protocol, std::uint8_t tcp_flags, unsigned policy_id) const {
  return protocol != net::Protocol::Tcp || starts_connection(tcp_flags) ||
         (policies_[policy_id].mid_stream == MidStream::PickUp && goes_on(tcp_flags));
}

Opened Conntrack::open_outbound(const OutboundFlow& flow, unsigned policy_id, Time now) {
  if (Session* session = find(flow.key)) return {session, Verdict::Opened};
  const NatPolicy& policy = policies_[policy_id];
  const net::Protocol protocol = flow.key.protocol();
  if (!may_open(protocol, flow.tcp_flags, policy_id)) return refused(Verdict::TcpNotSyn);
  Verdict verdict = admit(flow.vm_port, Direction::Outbound, policy, now);
  if (verdict != Verdict::Opened) return refused(verdict);
  Choice choice;
  verdict = choose_external(flow, policy_id, now, choice);
  if (verdict != Verdict::Opened) return refused(verdict);
  const net::Ipv4Addr external = flow.own_address.value_or(addresses_->address(choice.external));
  const Session::Identity identity{.internal = flow.key.local_endpoint(),
                                   .external = {external, choice.port},
                                   .remote = flow.key.remote_endpoint(),
                                   .protocol = protocol,
                                   .policy = static_cast<std::uint16_t>(policy_id)};
  const Opening opening{Direction::Outbound, flow.tcp_flags, is_well_known(identity.remote.port)};
  const Opened opened = open(identity, choice.flags, first_state(protocol, opening), now);
  if (opened.session != nullptr) attach(*opened.session, flow.vm_port, flow.mac, now);
  return opened;
}

Opened Conntrack::open_inbound(const InboundFlow& flow, unsigned policy_id, Time now) {
  if (Session* session = find(flow.key)) return {session, Verdict::Opened};
  const NatPolicy& policy = policies_[policy_id];
  const net::Protocol protocol = flow.key.protocol();
  if (!may_open(protocol, flow.tcp_flags, policy_id)) return refused(Verdict::TcpNotSyn);
  const auto internal = admitted_internal(flow, policy);
  if (!internal) return refused(Verdict::Filtered);
  const Verdict verdict = admit(flow.vm_port, Direction::Inbound, policy, now);
  if (verdict != Verdict::Opened) return refused(verdict);
  if (!claim_port(flow.key)) return refused(Verdict::NoFreePort);
  const Session::Identity identity{.internal = *internal,
                                   .external = flow.key.local_endpoint(),
                                   .remote = flow.key.remote_endpoint(),
                                   .protocol = protocol,
                                   .policy = static_cast<std::uint16_t>(policy_id)};
  // A forward stays when its sessions end, so RFC 4787 REQ-5 asks nothing of them; a mapping does not.
  const Opening opening{Direction::Inbound, flow.tcp_flags, flow.forward_to && is_well_known(internal->port)};
  const Opened opened = open(identity, Session::kInvited, first_state(protocol, opening), now);
  if (opened.session != nullptr) attach(*opened.session, flow.vm_port, flow.mac, now);
  return opened;
}

// The internal endpoint that the frame from outside is for, if it may come in at all.
std::optional<net::Endpoint> Conntrack::admitted_internal(const InboundFlow& flow, const NatPolicy& policy) {
  const net::Endpoint external = flow.key.local_endpoint();
  const auto index = addresses_->index_of(external.address);
  if (!index && flow.forward_to != external) return std::nullopt;
  std::optional<net::Endpoint> internal = flow.forward_to;
  if (!internal) {
    internal = mapped_internal(external, flow.key.protocol());
    const bool is_open = internal && may_share(policy, *index, external.port);
    if (!is_open || !is_let_in(flow.key, policy.filtering)) return std::nullopt;
  }
  // Two sessions of one (internal, remote) cannot be told apart on the way out.
  if (is_taken(FlowKey::of(*internal, flow.key.remote_endpoint(), flow.key.protocol()))) return std::nullopt;
  return internal;
}

// Without translation there is no port to claim. That of a forward is reserved, as a rule. If it is not, the forward's
// first session takes it from the pool.
bool Conntrack::claim_port(const FlowKey& inbound) {
  const PortSpace space = port_space(inbound.protocol());
  if (space == PortSpace::None) return true;
  const net::L4Port port = inbound.local_endpoint().port;
  const auto external = addresses_->index_of(inbound.local_endpoint().address);
  if (!external || mappings_.sessions({*external, space, port}) > 0 ||
      !addresses_->is_allowed(*external, port))
    return true;
  return pool_.take(*external, space, port);
}

bool Conntrack::is_let_in(const FlowKey& inbound, Filtering filtering) const {
  switch (filtering) {
    case Filtering::AddressAndPortDependent:
      return false;  // a remote that is let in has a session
    case Filtering::AddressDependent:
      return permissions_.is_granted(inbound);
    case Filtering::EndpointIndependent:
      return true;
  }
  return false;
}

std::optional<net::Endpoint> Conntrack::mapped_internal(net::Endpoint external,
                                                        net::Protocol protocol) const {
  const PortSpace space = port_space(protocol);
  const auto address = addresses_->index_of(external.address);
  if (space == PortSpace::None || !address) return std::nullopt;
  return mappings_.internal_of({*address, space, external.port});
}

// In three stages: (1) prefetch the primary buckets of the internal endpoint and the outbound key; (2) of the probable
// external endpoint, its slot and the primary bucket of the inbound key; (3) the other buckets of those that are full.
void Conntrack::prefetch_open(std::span<OutboundFlow> flows, unsigned policy_id) {
  const NatPolicy& policy = policies_[policy_id];
  if (policy.addresses.empty()) return;
  struct Places {
    PortSpace space;
    TagIndex::Place outbound, inbound, mapping;  // the last one not where there are no ports
  };
  std::array<Places, kMaxBurst> all;
  flows = flows.first(std::min<std::size_t>(flows.size(), kMaxBurst));
  const std::span<Places> places = std::span{all}.first(flows.size());
  for (std::size_t i = 0; i < flows.size(); ++i) {
    const FlowKey& key = flows[i].key;
    places[i] = {.space = port_space(key.protocol()), .outbound = place(key), .inbound = {}, .mapping = {}};
    index_.prefetch(places[i].outbound.bucket);
    if (places[i].space == PortSpace::None) continue;
    places[i].mapping = mappings_.place(key.local_endpoint(), places[i].space);
    mappings_.prefetch(places[i].mapping);
  }
  for (std::size_t i = 0; i < flows.size(); ++i) {
    const Mappings::Slot slot = probable_slot(flows[i], policy, places[i].mapping);
    if (slot.space != PortSpace::None) mappings_.prefetch(slot);
    const net::Endpoint external{addresses_->address(slot.external), slot.port};
    places[i].inbound = place({flows[i].key.remote, FlowKey::pack(external)});
    index_.prefetch(places[i].inbound.bucket);
  }
  for (const Places& of_flow : places) {
    index_.prefetch_room(of_flow.outbound);
    index_.prefetch_room(of_flow.inbound);
    if (of_flow.space != PortSpace::None) mappings_.prefetch_room(of_flow.mapping);
  }
}

// The external address that take_new_port would find, in all probability; its port becomes the flow's.
ExternalIndex Conntrack::probable_external(OutboundFlow& flow, const NatPolicy& policy, PortSpace space) {
  const net::Endpoint internal = flow.key.local_endpoint();
  const auto has_port = [&](ExternalIndex external) {
    const auto port = pool_.probable(external, space, internal.port);
    if (port) flow.probable_port = *port;
    return port.has_value();
  };
  const auto paired_one = policy.addresses[paired(internal.address, policy.addresses.size())];
  return first_address(policy.addresses, internal.address, has_port).value_or(paired_one);
}

// Of the mapping that the internal endpoint seems to have, or of a new one; without ports, the address alone. `mapping`:
// where it is.
Mappings::Slot Conntrack::probable_slot(OutboundFlow& flow, const NatPolicy& policy,
                                        TagIndex::Place mapping) {
  const PortSpace space = port_space(flow.key.protocol());
  if (space == PortSpace::None) {
    const net::Ipv4Addr internal = flow.key.local_endpoint().address;
    return {policy.addresses[paired(internal, policy.addresses.size())], space, net::L4Port{}};
  }
  if (policy.mapping != Mapping::EndpointDependent)
    if (const auto mapped = mappings_.probable(mapping)) return *mapped;
  const ExternalIndex external =
      policy.block_ports == 0 ? probable_external(flow, policy, space) : probable_of_block(flow, policy);
  return {external, space, flow.probable_port};
}

// RFC 6888 REQ-2, RFC 4787 REQ-2: an internal address stays on one external address. That needs no state,
// since the hash has a fixed seed: all workers agree, also after a restart.
std::size_t Conntrack::paired(net::Ipv4Addr internal, std::size_t addresses) {
  static constexpr FlowHash kHash(6888);
  return addresses <= 1 ? 0 : kHash({internal.raw(), 0}) % addresses;
}

Verdict Conntrack::choose_external(const OutboundFlow& flow, unsigned policy_id, Time now, Choice& choice) {
  const NatPolicy& policy = policies_[policy_id];
  const FlowKey& outbound = flow.key;
  const PortSpace space = port_space(outbound.protocol());
  if (flow.own_address) return choose_own(flow, choice);
  if (policy.pool(flow.pool).empty()) return Verdict::NoFreePort;
  if (space == PortSpace::None) return choose_portless(flow, policy, choice);
  if (flow.static_mapping && choose_static(flow, choice)) return Verdict::Opened;
  if (flow.static_mapping || policy.mapping == Mapping::EndpointDependent) {
    choice.flags |= Session::kPrivatePort;
  } else if (share_mapping(flow, policy, choice)) {
    return Verdict::Opened;
  }
  if (take_new_port(flow, policy_id, now, choice)) return Verdict::Opened;
  return policy.overload && policy.block_ports == 0 && overload(flow, policy, choice) ? Verdict::Opened
                                                                                      : Verdict::NoFreePort;
}

// Whether sessions may still open by an external endpoint that has some, or once had.
bool Conntrack::may_share(const NatPolicy& policy, ExternalIndex external, net::L4Port port) const {
  return !policy.leaves(external) &&
         (addresses_->is_allowed(external, port) || addresses_->is_draining(external));
}

// The internal endpoint's mapping, if it has one. A mapping that may not be shared any more makes room for
// another one; its sessions go on.
bool Conntrack::share_mapping(const OutboundFlow& flow, const NatPolicy& policy, Choice& choice) {
  const FlowKey& outbound = flow.key;
  const auto mapping =
      mappings_.find(outbound.local_endpoint(), port_space(outbound.protocol()),
                     [&](Mappings::Slot slot) { return policy.is_in_pool(slot.external, flow.pool); });
  if (!mapping) return false;
  if (!may_share(policy, mapping->external, mapping->port)) {
    mappings_.unbind(*mapping);
    return false;
  }
  choice.external = mapping->external;
  choice.port = mapping->port;
  const net::Endpoint external{addresses_->address(mapping->external), mapping->port};
  if (!is_taken({outbound.remote, FlowKey::pack(external)})) return true;
  choice.flags |= Session::kPrivatePort;  // an overload has the mapping's port towards this very remote
  return false;
}

// A port without sessions. No tuple can clash with it.
bool Conntrack::take_new_port(const OutboundFlow& flow, unsigned policy_id, Time now, Choice& choice) {
  const NatPolicy& policy = policies_[policy_id];
  const bool is_taken = policy.block_ports == 0 ? take_port_singly(flow, policy, now, choice)
                                                : take_port_of_block(flow, policy_id, now, choice);
  if (!is_taken) return false;
  const bool is_shared = (choice.flags & Session::kPrivatePort) == 0;
  const Mappings::Slot slot{choice.external, port_space(flow.key.protocol()), choice.port};
  if (is_shared && !mappings_.bind(slot, flow.key.local_endpoint())) choice.flags |= Session::kPrivatePort;
  return true;
}

bool Conntrack::take_port_singly(const OutboundFlow& flow, const NatPolicy& policy, Time now,
                                 Choice& choice) {
  const net::Endpoint internal = flow.key.local_endpoint();
  const PortSpace space = port_space(flow.key.protocol());
  const auto external = first_address(policy.pool(flow.pool), internal.address, [&](ExternalIndex candidate) {
    const auto port = pool_.allocate(candidate, space, {internal.port, flow.probable_port}, now);
    if (port) choice.port = *port;
    return port.has_value();
  });
  if (!external) return false;
  choice.external = *external;
  return true;
}

bool Conntrack::overload(const OutboundFlow& flow, const NatPolicy& policy, Choice& choice) {
  const FlowKey& outbound = flow.key;
  const net::Ipv4Addr internal = outbound.local_endpoint().address;
  const auto external = first_address(policy.pool(flow.pool), internal, [&](ExternalIndex candidate) {
    auto port = overloadable_port(candidate, outbound);
    if (!port) port = exact_overloadable_port(candidate, outbound);
    if (port) choice.port = *port;
    return port.has_value();
  });
  if (!external) return false;
  choice.external = *external;
  choice.flags |= Session::kPrivatePort;
  counters_.overloaded.add(1);
  return true;
}

// A held port that is free towards this remote, by chance: where few sessions go to it, the first try finds
// one.
std::optional<net::L4Port> Conntrack::overloadable_port(ExternalIndex external, const FlowKey& outbound) {
  if (planes_.find(RemotePlanes::key_of(outbound.remote, external)) != nullptr)
    return std::nullopt;  // then the exact search is faster
  for (unsigned i = 0; i < kOverloadTries; ++i) {
    const auto port = pool_.random_held(external, random_.next());
    if (!port) return std::nullopt;
    if (!is_taken({outbound.remote, FlowKey::pack({addresses_->address(external), *port})})) return port;
  }
  return std::nullopt;
}

std::optional<net::L4Port> Conntrack::exact_overloadable_port(ExternalIndex external,
                                                              const FlowKey& outbound) {
  RemotePlanes::Plane& plane = planes_.find_or_add(RemotePlanes::key_of(outbound.remote, external));
  const BlockSet& held = pool_.held(external);
  const std::uint64_t random = random_.next();
  for (unsigned i = 0; i < kBlockWords; ++i) {
    const unsigned word = static_cast<unsigned>(random + i) % kBlockWords;
    for (std::uint64_t left = held[word] & ~plane.no_room[word]; left != 0; left &= left - 1) {
      const unsigned block = word * 64 + static_cast<unsigned>(std::countr_zero(left));
      if (!plane.knows(block)) plane.learn(block, taken_towards(outbound.remote, external, block));
      const std::uint64_t free = addresses_->allowed(external, block) & ~plane.taken[block];
      if (free != 0) return PortPool::random_port_of(block, free, random);
      plane.no_room[word] |= left & -left;
    }
  }
  return std::nullopt;
}

std::uint64_t Conntrack::taken_towards(std::uint64_t remote, ExternalIndex external, unsigned block) {
  std::array<FlowKey, kBlockPorts> keys;
  std::array<Session*, kBlockPorts> found;
  for (unsigned i = 0; i < keys.size(); ++i) {
    const auto port = net::L4Port::from_host(static_cast<std::uint16_t>(block * kBlockPorts + i));
    keys[i] = {remote, FlowKey::pack({addresses_->address(external), port})};
  }
  find_burst(keys, found.data());
  std::uint64_t taken = 0;
  for (unsigned i = 0; i < found.size(); ++i) taken |= std::uint64_t{found[i] != nullptr} << i;
  return taken;
}

Session& Conntrack::take_record() {
  if (first_free_ != kNoRecord) {
    Session& session = sessions_[first_free_];
    first_free_ = session.next_free();
    return session;
  }
  const std::uint32_t record = high_water_.load(std::memory_order_relaxed);
  high_water_.store(record + 1, std::memory_order_release);
  return sessions_[record];
}

// Enters both keys of a new session, or neither when there is no room for both.
bool Conntrack::insert(const Session& session) {
  const TagIndex::Place outbound = place(session.outbound_key());
  if (!index_.insert(outbound, number(session))) return false;
  if (index_.insert(place(session.inbound_key()), number(session))) return true;
  index_.erase(outbound, number(session));
  return false;
}

Opened Conntrack::open(const Session::Identity& identity, std::uint8_t flags, SessionState state, Time now) {
  Session& session = take_record();
  session.open(identity, state, flags, now);
  if (!enter(session, now)) return refused(Verdict::TableFull);
  counters_.created.add(1);
  return {&session, Verdict::Opened};
}

// Enters a record that has just been written into all tables, or frees it when there is no room.
bool Conntrack::enter(Session& session, Time now) {
  const FlowKey inbound = session.inbound_key();
  const PortSpace space = port_space(session.protocol());
  const net::Endpoint endpoint = session.external();
  const auto external = addresses_->index_of(endpoint.address);  // nothing: it is not translated
  if (external) sessions_at_[*external].add(1);
  if (external && space != PortSpace::None) {
    mappings_.add_session({*external, space, endpoint.port});
    planes_.note(RemotePlanes::key_of(inbound.remote, *external), endpoint.port, true);
    counters_.mappings.set(mappings_.size());
  }
  if (!insert(session)) {
    release_external(inbound, now);
    session.free(first_free_);
    first_free_ = number(session);
    return false;
  }
  if (policies_[session.policy()].filtering == Filtering::AddressDependent && permissions_.grant(inbound))
    session.add(Session::kPermits);
  counters_.active.add(1);
  return true;
}

void Conntrack::attach(Session& session, PortIndex vm_port, net::MacAddr mac, Time now) {
  session.set_place(vm_port, mac);
  enter_port(vm_port, session.opener());
  announce(EventKind::Opened, session, now);
}

}  // namespace vmnat::conntrack
