// SPDX-License-Identifier: Apache-2.0
// ICMP errors on their way through the NAT (RFC 5508 section 4, RFC 4787 REQ-12). Cold, one at a time.
//
// An error quotes the packet that it is about. That packet travelled the other way, and names the session.
// The outer header and the quote are both translated, so that the receiver recognises its own packet:
//
//   in:   router > 203.0.113.2     time exceeded, about 203.0.113.2:40000    > 198.51.100.7:80
//   out:  router > 192.168.122.10  time exceeded, about 192.168.122.10:40000 > 198.51.100.7:80
//
// All checksums are updated by the change: that of the quoted IPv4 header, that of the quoted UDP, ICMP or
// TCP header where its bytes are there (TCP's mostly are not: RFC 792 asks for 8 bytes), and the message's
// own. An error neither refreshes nor ends the session (RFC 5508 REQ-6), and causes no ICMP error.
#pragma once

#include <optional>

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// Translates frame i, of kind IcmpError, to be delivered by the session that it returns. nullptr: the frame
// was dropped with the reason.
template <Direction direction>
[[gnu::cold]] Session* translate_icmp_error(Context& context, const Burst& burst, unsigned i);

// The internal (Outbound) or external (Inbound) endpoint and the protocol of the session that the error is
// about, as a look-up key; nothing when it quotes no packet that could have one.
template <Direction direction>
[[gnu::cold]] std::optional<FlowKey> quoted_key(rte_mbuf* frame, const ParsedPacket& packet);

}  // namespace vmnat::dataplane
