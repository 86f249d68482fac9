// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/deliver.h"

#include <optional>

#include "dataplane/detours/hairpin.h"

namespace vmnat::dataplane {
namespace {

std::optional<DropReason> refusal_of_way_out(const Uplink& uplink, net::Ipv4Addr remote) {
  if (!uplink.has_address()) return DropReason::NoUplinkAddress;
  if (!uplink.has_route(remote)) return DropReason::NoRoute;
  if (uplink.is_silent(remote)) return DropReason::NeighborUnresolved;
  return std::nullopt;
}

// Our own addresses are never resolved, so frames for them end up here, too.
[[gnu::cold]] void deliver_unresolved(Context& context, rte_mbuf* frame, PortIndex from,
                                      const Uplink& uplink) {
  const net::Ipv4Addr remote = ipv4_of(frame).destination;
  if (turns_round(context, remote)) return turn_round(context, frame, from);
  if (const auto refusal = refusal_of_way_out(uplink, remote))
    return context.queue_errand(frame,
                                {.port = from, .errand = FrameNote::Errand::Unreachable, .reason = *refusal});
  context.punt(frame, from, PuntReason::NeighborUnresolved);
}

// Of several uplinks: an address of ours on another one's link would be sent to this one's router.
bool is_ours_elsewhere(const Context& context, const Uplink& uplink, net::Ipv4Addr remote) {
  return !uplink.address.contains(remote) && turns_round(context, remote);
}

// Where there is one uplink, it is looked at once a burst.
template <bool has_several>
void deliver_by_uplinks(Context& context, const Burst& burst) {
  const ForwardingState& state = *context.state;
  PortIndex to = kUplinkPort;
  const Uplink* uplink = &state.uplinks[to];
  for (unsigned i = 0; i < burst.count; ++i) {
    rte_mbuf* frame = burst.frames[i];
    const net::Ipv4Addr remote = ipv4_of(frame).destination;
    if constexpr (has_several) uplink = &state.uplinks[to = state.uplink_port(burst.sessions[i]->policy())];
    const net::MacAddr& next_hop = uplink->next_hop_mac(remote);
    if (next_hop.is_zero() || (has_several && is_ours_elsewhere(context, *uplink, remote))) {
      deliver_unresolved(context, frame, burst.ports[i], *uplink);
      continue;
    }
    net::EthernetHeader& ethernet = ethernet_of(frame);
    ethernet.destination = next_hop;
    ethernet.source = uplink->mac;
    context.transmitter.send(state, frame, burst.ports[i], to);
  }
}

}  // namespace

void deliver_outbound(Context& context, const Burst& burst) {
  if (context.state->uplink_count == 1) return deliver_by_uplinks<false>(context, burst);
  deliver_by_uplinks<true>(context, burst);
}

void deliver_inbound(Context& context, const Burst& burst) {
  const ForwardingState& state = *context.state;
  for (unsigned i = 0; i < burst.count; ++i) {
    const Session& session = *burst.sessions[i];
    net::EthernetHeader& ethernet = ethernet_of(burst.frames[i]);
    ethernet.destination = session.internal_mac();
    ethernet.source = state.network_at(session.vm_port()).mac;
    context.transmitter.send(state, burst.frames[i], burst.ports[i], session.vm_port());
  }
}

}  // namespace vmnat::dataplane
