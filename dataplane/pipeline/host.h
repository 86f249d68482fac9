// SPDX-License-Identifier: Apache-2.0
// Host: the machine that vmnat runs on, as a station of a network (networks[].host). A TAP of its own is a port of
// the switch; there the host has the gateway's MAC and address.
//
// What VMs send to the gateway's address is answered by one of the two:
//
//   ARP, echo requests, DHCP                                    vmnat, as without a host (switch.h, local.h)
//   TCP and UDP to a service that is open                       the host
//   TCP but for a SYN, UDP, echo replies, other protocols,
//   if the host has begun the flow (host_flows.h), and TCP
//   of connections to a service that has closed since           the host
//   ICMP errors about a packet of either                        the host
//   anything else                                               refused: host_service, with an ICMP error
//
// Broadcast and multicast reach the host if they are ARP, or UDP to a service that is open. Whatever the host sends
// to VMs passes, IPv4 and ARP from its own MAC and address.
//
// All frames for the host cross the worker that polls its TAP, which has the table of flows: it needs no lock.
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// Ends frame i, which came from the host's port: at VMs, or dropped.
[[gnu::cold]] void switch_from_host(Context& context, Burst& burst, unsigned i);

// Ends frame i, which a VM has sent to the gateway's address and vmnat does not answer: at the host, refused, or on
// its way to the worker of the host's port.
[[gnu::cold]] void pass_to_host(Context& context, const Burst& burst, unsigned i);

// The errands of such frames, at that worker.
[[gnu::cold]] void end_at_host(Context& context, Burst& burst);

// A copy of this frame for a group is the host's, too.
bool is_group_for_host(const Network& network, rte_mbuf* frame, const ParsedPacket& packet);

}  // namespace vmnat::dataplane
