// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/steer.h"

#include "dataplane/detours/icmp_error.h"

namespace vmnat::dataplane {
namespace {

// An inside address, of a flow that is not translated, or nobody's.
[[gnu::cold]] WorkerIndex owner_inside(const Context& context, net::Endpoint endpoint) {
  if (!context.state->is_shown_outside(endpoint.address)) return context.worker;
  return forward_owner(context, {endpoint, context.state->network_of(endpoint.address)});
}

// Of an address that is a VM's alone no block is anybody's.
[[gnu::cold]] WorkerIndex owner_by_pair(const Context& context, net::Endpoint external) {
  const auto own = context.state->forward_by_pair(external);
  return own ? forward_owner(context, *own) : context.worker;
}

template <Direction direction>
WorkerIndex port_owner(const Context& context, PortIndex from, const FlowKey& key) {
  if constexpr (direction == Direction::Outbound) return inside_owner(context, from, key.local_endpoint());
  const net::Endpoint external = key.local_endpoint();
  const auto address = context.state->external_addresses->index_of(external.address);
  if (!address) return owner_inside(context, external);
  const WorkerIndex owner = context.external_ports.owner(*address, external.port);
  return owner == kNoWorker ? owner_by_pair(context, external) : owner;
}

template <Direction direction>
WorkerIndex owner_by_key(const Context& context, PortIndex from, const FlowKey& key) {
  if (conntrack::port_space(key.protocol()) == conntrack::PortSpace::None)
    return context.external_ports.portless_owner(key.remote_endpoint().address);
  if (const auto forward =
          context.state->forward_of(key.local_endpoint(), key.protocol(), key.remote_endpoint().address))
    return forward_owner(context, *forward);
  return port_owner<direction>(context, from, key);
}

// An error goes to the owner of the session that the quoted packet belongs to.
template <Direction direction>
[[gnu::cold]] WorkerIndex icmp_error_owner(const Context& context, PortIndex from, rte_mbuf* frame,
                                           const ParsedPacket& packet) {
  const auto key = quoted_key<direction>(frame, packet);
  return key ? owner_by_key<direction>(context, from, *key) : context.worker;
}

template <Direction direction>
WorkerIndex session_owner(const Context& context, const Burst& burst, unsigned i) {
  const ParsedPacket& packet = burst.packets[i];
  // No port block would name the owner.
  if (packet.kind == PacketKind::Other)
    return context.external_ports.portless_owner(burst.keys[i].remote_endpoint().address);
  if (packet.kind == PacketKind::IcmpError)
    return icmp_error_owner<direction>(context, burst.ports[i], burst.frames[i], packet);
  return port_owner<direction>(context, burst.ports[i], burst.keys[i]);
}

// Where the VM has answered ARP; before it has, the port that owns its address: the VM may have spoken first. Nobody
// need know more of the only port.
std::optional<PortIndex> place_of(const Context& context, const Forward& forward) {
  const Network& network = context.state->networks[forward.network];
  if (network.ports.size() == 1) return network.ports.front();
  const InsideHost* host = network.hosts.find(forward.to.address.raw());
  if (host != nullptr && host->is_resolved()) return host->port;
  const PortIndex* owner = network.address_owners.find(forward.to.address.raw());
  return owner != nullptr && *owner != kUplinkPort ? std::optional{*owner} : std::nullopt;
}

}  // namespace

WorkerIndex inside_owner(const Context& context, PortIndex port, net::Endpoint internal) {
  return context.state->inside_owner(port, internal, context.worker_count);
}

bool is_place_known(const Context& context, const Forward& forward) {
  const InsideHost* host = context.state->networks[forward.network].hosts.find(forward.to.address.raw());
  return (host != nullptr && host->is_silent) || place_of(context, forward).has_value();
}

WorkerIndex forward_owner(const Context& context, const Forward& forward) {
  const auto port = place_of(context, forward);
  return port ? inside_owner(context, *port, forward.to) : context.worker;
}

WorkerIndex outside_owner(const Context& context, const FlowKey& key) {
  return owner_by_key<Direction::Inbound>(context, kUplinkPort, key);
}

void hand_over(Context& context, rte_mbuf* frame, PortIndex from, WorkerIndex owner,
               FrameNote::Errand errand) {
  note_of(frame).port = from;  // a fragment's note holds more
  note_of(frame).errand = errand;
  context.transmitter.hand_over(frame, from, owner);
}

template <Direction direction>
void steer(Context& context, Burst& burst) {
  if (context.worker_count == 1) return;
  constexpr auto errand =
      direction == Direction::Outbound ? FrameNote::Errand::Outbound : FrameNote::Errand::Inbound;
  burst.keep_if([&](unsigned i) {
    const WorkerIndex owner = session_owner<direction>(context, burst, i);
    if (owner == context.worker) return true;
    hand_over(context, burst.frames[i], burst.ports[i], owner, errand);
    return false;
  });
}

template void steer<Direction::Outbound>(Context&, Burst&);
template void steer<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
