// SPDX-License-Identifier: Apache-2.0
// Guard: a VM speaks in its own name alone, in IPv4 and in ARP, so that none takes the gateway's or a
// neighbour's address, nor has the switch learn a neighbour's MAC.
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
// VLAN tags are looked through: guests take frames of VLAN 0 for untagged ones. Of IPv6 and all else the
// source MAC is looked at.
#pragma once

#include <optional>

#include "dataplane/context.h"

namespace vmnat::dataplane {

// True for the sender that nearly every frame of the port has, and may have. Its MAC is known to the switch.
inline bool is_usual_sender(const Network& network, const Port& port, rte_mbuf* frame,
                            const ParsedPacket& packet) {
  if (ethernet_of(frame).source != port.usual_mac || packet.kind < PacketKind::Tcp) return false;
  const net::Ipv4Addr source = ipv4_of(frame).source;
  return port.guard == Guard::GatewayOnly ? source != network.gateway.address : source == port.usual_address;
}

// Why the frame, which has a whole Ethernet header, may not come from its sender.
std::optional<DropReason> refusal_of_sender(const ForwardingState& state, PortIndex from, rte_mbuf* frame,
                                            const ParsedPacket& packet);

}  // namespace vmnat::dataplane
