// SPDX-License-Identifier: Apache-2.0
// Guard: a VM speaks in its own name alone, so that none takes the gateway's or a neighbour's address, nor
// has the switch learn a neighbour's MAC; and it is neither router nor DHCP server to its neighbours.
//
// A port owns the MAC and address of each of its DHCP leases, and those of its configuration; control
// publishes who owns what, and how strict the port's guard is (forwarding_state.h). Example, vm1 with the
// lease (aa:..:01, .10) and vm2 without one:
//
//   vm1 as aa:..:01, .10                 goes on: the usual sender, two compares
//   vm1 as aa:..:01, .77                 dropped, spoofed_address
//   vm2 as .10, .1 or aa:..:01           dropped; as .77: goes on
//   anyone as 0.0.0.0 in an ARP probe    goes on (RFC 5227); in IPv4: a DHCP client that may not have a lease
//                                        yet, whose MAC is then only held against those of others
//
// Where the guard is on, frames for other VMs are also held against what only a router or server says: DHCP
// to a client's port 68 where vmnat gives the leases, RARP replies, ICMP router advertisements, and IPv6's
// ways to the same (guard_ipv6.h). `guard: off` is for VMs that are one.
//
// Looked at is what a guest's stack would look at: VLAN tags (frames of VLAN 0 are untagged to it) and
// LLC/SNAP are looked through, within each other and four deep, and headers that are cut short are read
// as the padding would make them. Of all else the source MAC is looked at.
#pragma once

#include <optional>

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// True for the sender that nearly every frame of the port has, and may have. Its MAC is known to the switch.
inline bool is_usual_sender(const Network& network, const Port& port, rte_mbuf* frame,
                            const ParsedPacket& packet) {
  if (ethernet_of(frame).source != port.usual_mac || packet.kind < PacketKind::Tcp) return false;
  const net::Ipv4Addr source = ipv4_of(frame).source;
  return port.guard == Guard::GatewayOnly ? source != network.gateway.address : source == port.usual_address;
}

// Why the frame, which has a whole Ethernet header, may not come from its sender. Of one that cannot be
// routed also why it may not go to other VMs.
std::optional<DropReason> refusal_of_sender(const ForwardingState& state, PortIndex from, rte_mbuf* frame,
                                            const ParsedPacket& packet);

// True for the few frames, of those that could be routed, of which refusal_of_service has to be asked.
inline bool may_be_service(rte_mbuf* frame, const ParsedPacket& packet) {
  constexpr auto dhcp_client_port = net::L4Port::from_host(68);
  return packet.kind == PacketKind::Fragment ||
         (packet.kind == PacketKind::Udp &&
          l4_of<net::UdpHeader>(frame, packet).destination_port == dhcp_client_port);
}

// Why the frame may not go to other VMs, whoever has sent it.
[[gnu::cold]] std::optional<DropReason> refusal_of_service(const ForwardingState& state, PortIndex from,
                                                           rte_mbuf* frame);

}  // namespace vmnat::dataplane
