// SPDX-License-Identifier: Apache-2.0
// ICMP errors on their way through the NAT (RFC 5508 section 4, RFC 4787 REQ-12). Cold, one at a time.
//
// An error quotes the packet that it is about, and that packet travelled the other way: it names the
// session. Besides the outer header the quote is translated, so that its receiver knows it for its own:
//
//   in:   router > 203.0.113.2     time exceeded, about 203.0.113.2:40000    > 198.51.100.7:80
//   out:  router > 192.168.122.10  time exceeded, about 192.168.122.10:40000 > 198.51.100.7:80
//
// All checksums are mended by what changed: the quoted IPv4 header's, the quoted UDP, ICMP or TCP one where
// its bytes are there (TCP's mostly are not: 8 bytes are all that RFC 792 asks for), and the message's own.
// An error neither refreshes nor ends the session (RFC 5508 REQ-6), and none is sent about it.
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
