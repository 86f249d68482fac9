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
[[gnu::cold]] void deliver_unresolved(Context& context, rte_mbuf* frame, PortIndex from) {
  const net::Ipv4Addr remote = ipv4_of(frame).destination;
  if (turns_round(context, remote)) return turn_round(context, frame, from);
  if (const auto refusal = refusal_of_way_out(context.state->uplink, remote))
    return context.queue_errand(frame,
                                {.port = from, .errand = FrameNote::Errand::Unreachable, .reason = *refusal});
  context.punt(frame, from, PuntReason::NeighborUnresolved);
}

}  // namespace

void deliver_outbound(Context& context, const Burst& burst) {
  const Uplink& uplink = context.state->uplink;
  for (unsigned i = 0; i < burst.count; ++i) {
    rte_mbuf* frame = burst.frames[i];
    const net::MacAddr next_hop = uplink.next_hop_mac(ipv4_of(frame).destination);
    if (next_hop.is_zero()) {
      deliver_unresolved(context, frame, burst.ports[i]);
      continue;
    }
    net::EthernetHeader& ethernet = ethernet_of(frame);
    ethernet.destination = next_hop;
    ethernet.source = uplink.mac;
    context.transmitter.send(*context.state, frame, burst.ports[i], kUplinkPort);
  }
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
