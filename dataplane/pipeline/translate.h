// SPDX-License-Identifier: Apache-2.0
// Translate: applies the session's rewrite to every frame of the burst. No decision is taken here.
//
// Worked example, outbound: 192.168.122.10:40000 -> 198.51.100.7:80 through 203.0.113.2:40000 becomes
// 203.0.113.2:40000 -> 198.51.100.7:80, TTL less one, IPv4 and TCP checksums by the session's deltas
// (RFC 1624), then the link layer's addresses: ours and the next hop's. A SYN's MSS is lowered to what fits
// (mss_clamp.h).
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

template <Direction direction>
void translate(Context& context, Burst& burst);

// Undoes what `session` did to an outbound frame, so that an ICMP error can quote it as its VM sent it. A new
// IPv4 identification and a lowered MSS stay.
[[gnu::cold]] void undo_translation(rte_mbuf* frame, const ParsedPacket& packet, const Session& session);

extern template void translate<Direction::Outbound>(Context&, Burst&);
extern template void translate<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
