// SPDX-License-Identifier: Apache-2.0
#include "dataplane/deliver.h"

#include "dataplane/hairpin.h"

namespace vmnat::dataplane {
namespace {

// Our own addresses are never resolved, so frames for them end up here, too.
[[gnu::cold]] void deliver_unresolved(Context& context, rte_mbuf* frame, PortIndex from) {
  if (turns_round(context, ipv4_of(frame).destination)) return turn_round(context, frame, from);
  if (!context.state->uplink.has_address()) return context.drop(frame, from, DropReason::NoUplinkAddress);
  if (context.state->uplink.is_silent(ipv4_of(frame).destination))
    return context.drop(frame, from, DropReason::NeighborUnresolved);
  context.punt(frame, from, PuntReason::NeighborUnresolved);
}

}  // namespace

void deliver_outbound(Context& context, Burst& burst) {
  const Uplink& uplink = context.state->uplink;
  for (unsigned i = 0; i < burst.count; ++i) {
    rte_mbuf* frame = burst.frames[i];
    const net::MacAddr next_hop = uplink.next_hop_mac(ipv4_of(frame).destination);
    if (next_hop.is_zero()) {
      deliver_unresolved(context, frame, burst.port);
      continue;
    }
    net::EthernetHeader& ethernet = ethernet_of(frame);
    ethernet.destination = next_hop;
    ethernet.source = uplink.mac;
    context.transmitter.send(*context.state, frame, burst.port, kUplinkPort);
  }
}

void deliver_inbound(Context& context, Burst& burst) {
  const ForwardingState& state = *context.state;
  for (unsigned i = 0; i < burst.count; ++i) {
    const Session& session = *burst.sessions[i];
    net::EthernetHeader& ethernet = ethernet_of(burst.frames[i]);
    ethernet.destination = session.internal_mac();
    ethernet.source = state.networks[state.ports[session.port()].network].mac;
    context.transmitter.send(state, burst.frames[i], burst.port, session.port());
  }
}

}  // namespace vmnat::dataplane
