// SPDX-License-Identifier: Apache-2.0
// Local: what vmnat answers itself, in place: ARP for its addresses and ping of them.
//
// The request's buffer becomes the answer and leaves by the port it came from.
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// RFC 826: the reply to a request for `address`, which lives at `mac`. The frame is a checked ARP packet.
void answer_arp(Context& context, rte_mbuf* frame, PortIndex port, net::MacAddr mac);

// RFC 792: the reply to an echo request, or to a fragment of one by a fragment.
void answer_echo(Context& context, rte_mbuf* frame, const ParsedPacket& packet, PortIndex port);

// True for an echo request and each of its fragments, the one query that is answered (RFC 1122 3.2.2.6;
// timestamps are not, 3.2.2.8).
bool is_echo_request(rte_mbuf* frame, const ParsedPacket& packet);

// True for what a DHCP server would answer: UDP to port 67.
bool is_dhcp_request(rte_mbuf* frame, const ParsedPacket& packet);

// True for what the uplink's DHCP client waits for, while there is one: UDP to port 68 from the uplink, in
// its transaction. Whoever has not heard its question cannot have control look at an answer.
[[gnu::cold]] bool is_for_dhcp_client(const Context& context, rte_mbuf* frame, const ParsedPacket& packet,
                                      PortIndex from);

}  // namespace vmnat::dataplane
