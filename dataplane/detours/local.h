// SPDX-License-Identifier: Apache-2.0
// Local: requests that vmnat answers itself, ARP for its addresses and ping of them.
//
// The request's buffer becomes the reply, which leaves by the port that the request came from.
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

// True for UDP to port 67, a DHCP server's.
bool is_dhcp_request(rte_mbuf* frame, const ParsedPacket& packet);

// True for an answer to control's echo requests by the uplink. Their identifier is 0, which no flow is given
// (conntrack/external_addresses.h).
[[gnu::cold]] bool is_for_prober(const Context& context, const Burst& burst, unsigned i);

// True for a reply to the uplink's DHCP client, while there is one: UDP to port 68 from the uplink, in its
// transaction. So a station that has not heard the request cannot have control look at its frames.
[[gnu::cold]] bool is_for_dhcp_client(const Context& context, rte_mbuf* frame, const ParsedPacket& packet,
                                      PortIndex from);

}  // namespace vmnat::dataplane
