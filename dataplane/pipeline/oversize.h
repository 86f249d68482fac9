// SPDX-License-Identifier: Apache-2.0
// Oversize: fragmentation of frames above the egress MTU (RFC 791 section 3.2). Cold.
//
// A frame with DF is refused before it is translated, and an ICMP error tells its sender the MTU (refuse.h).
// Other frames are cut after translation, when nothing in them changes any more: the transport checksum
// stands in the first piece and stays right. Each piece is a frame of its own, in one buffer for any device;
// a fragment is cut into smaller fragments. Example, an egress MTU of 1500 bytes:
//
//   [ip 20][0, 3000)      ->      [ip 20][0, 1480) MF   [ip 20][1480, 2960) MF   [ip 20][2960, 3000)
//
// The first piece carries all IPv4 options, the later ones those with the copied flag. A datagram that leaves
// by the uplink in pieces has an identification of ours, as fragments.h says.
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// True for a frame above the MTU that must not be cut. A super-frame leaves in segments; their size counts.
[[gnu::cold]] bool is_too_big(rte_mbuf* frame, std::uint16_t mtu);

// Frame i is above the MTU: the reason to drop it, if it must not be cut. Else has_oversize is set.
[[gnu::cold]] std::optional<DropReason> refusal_of_oversize(Burst& burst, unsigned i, std::uint16_t mtu);

// Delivers a translated burst in its order, and cuts the frames that are above the egress MTU.
template <Direction direction>
[[gnu::cold]] void deliver_in_pieces(Context& context, Burst& burst);

extern template void deliver_in_pieces<Direction::Outbound>(Context&, Burst&);
extern template void deliver_in_pieces<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
