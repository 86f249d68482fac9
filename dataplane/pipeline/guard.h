// SPDX-License-Identifier: Apache-2.0
// Guard: anti-spoofing. A VM sends from its own MAC and addresses alone, so that it takes neither the
// gateway's nor a neighbour's address, and the switch learns no MAC of a neighbour at its port. Nor is it
// router or DHCP server to its neighbours.
//
// A port owns the MAC and address of each of its DHCP leases, and those of its configuration. Control
// publishes the owners, and how strict each port's guard is (forwarding_state.h). Example, vm1 with the lease
// (aa:..:01, .10) and vm2 without one:
//
//   vm1 as aa:..:01, .10                 goes on: the usual sender, two compares
//   vm1 as aa:..:01, .77                 dropped, spoofed_address
//   vm2 as .10, .1 or aa:..:01           dropped; as .77: goes on
//   anyone as 0.0.0.0 in an ARP probe    goes on (RFC 5227); in IPv4: a DHCP client that may not have a lease
//                                        yet, whose MAC is then only held against those of others
//
// Where the guard is on, a VM may not send to other VMs the messages of a router or a server: DHCP to a
// client's port 68 where vmnat gives the leases, RARP replies, ICMP router advertisements, and their
// counterparts in IPv6 (guard_ipv6.h). `guard: off` is for VMs that are router or server.
//
// The guard looks where a guest's stack would look: through VLAN tags (frames of VLAN 0 are untagged to it)
// and LLC/SNAP, nested four deep; headers that are cut short are read as if padded with zeroes. Of any other
// frame it looks at the source MAC.
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

// The reason to drop a frame with a whole Ethernet header for its sender; of an unroutable frame also the
// reason not to let it go to other VMs.
std::optional<DropReason> refusal_of_sender(const ForwardingState& state, PortIndex from, rte_mbuf* frame,
                                            const ParsedPacket& packet);

// True for the few routable frames that refusal_of_service has to look at.
inline bool may_be_service(rte_mbuf* frame, const ParsedPacket& packet) {
  constexpr auto dhcp_client_port = net::L4Port::from_host(68);
  return packet.kind == PacketKind::Fragment ||
         (packet.kind == PacketKind::Udp &&
          l4_of<net::UdpHeader>(frame, packet).destination_port == dhcp_client_port);
}

// The reason not to let the frame go to other VMs, whoever has sent it.
[[gnu::cold]] std::optional<DropReason> refusal_of_service(const ForwardingState& state, PortIndex from,
                                                           rte_mbuf* frame);

}  // namespace vmnat::dataplane
