// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/deliver.h"

#include <cstring>
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

// From a register: the compiler copies a MAC address in pieces, by the stack.
void write(net::MacAddr& to, std::uint64_t word) {
  std::memcpy(to.bytes.data(), &word, sizeof to);
}

}  // namespace

void deliver_outbound(Context& context, const Burst& burst) {
  const Uplink& uplink = context.state->uplink;
  const std::uint64_t own = uplink.mac.as_word(), gateway = uplink.gateway_mac.as_word();
  for (unsigned i = 0; i < burst.count; ++i) {
    rte_mbuf* frame = burst.frames[i];
    const net::Ipv4Addr remote = ipv4_of(frame).destination;
    const std::uint64_t next_hop =
        uplink.address.contains(remote) ? uplink.next_hop_mac(remote).as_word() : gateway;
    if (next_hop == 0) {
      deliver_unresolved(context, frame, burst.ports[i]);
      continue;
    }
    net::EthernetHeader& ethernet = ethernet_of(frame);
    write(ethernet.destination, next_hop);
    write(ethernet.source, own);
    context.transmitter.send(*context.state, frame, burst.ports[i], kUplinkPort);
  }
}

void deliver_inbound(Context& context, const Burst& burst) {
  const ForwardingState& state = *context.state;
  for (unsigned i = 0; i < burst.count; ++i) {
    const Session& session = *burst.sessions[i];
    net::EthernetHeader& ethernet = ethernet_of(burst.frames[i]);
    write(ethernet.destination, session.internal_mac().as_word());
    write(ethernet.source, state.network_at(session.vm_port()).mac.as_word());
    context.transmitter.send(state, burst.frames[i], burst.ports[i], session.vm_port());
  }
}

}  // namespace vmnat::dataplane
