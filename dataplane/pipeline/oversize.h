// SPDX-License-Identifier: Apache-2.0
// Oversize: frames larger than the MTU of their way out, which may be cut (RFC 791 section 3.2). Cold.
//
// Those that may not be cut (DF) are refused before they are translated, and their sender is told the MTU
// (refuse.h). The others are cut after, when all that is to change has changed: the transport checksum
// stands in the first piece and is not touched. Pieces are frames of their own, one buffer each, whatever
// the device; a fragment is cut into smaller ones. Example, 1500 bytes:
//
//   [ip 20][0, 3000)      ->      [ip 20][0, 1480) MF   [ip 20][1480, 2960) MF   [ip 20][2960, 3000)
//
// The later pieces carry those IPv4 options that are to be copied, the first one all. What leaves by the
// uplink in pieces has an identification of ours, as fragments.h says.
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// A frame larger than the MTU that must not be cut. A super-frame leaves in segments and is as large as
// these.
[[gnu::cold]] bool is_too_big(rte_mbuf* frame, std::uint16_t mtu);

// Frame i is larger than the MTU: refused if it must not be cut, else the burst takes note.
[[gnu::cold]] std::optional<DropReason> refusal_of_oversize(Burst& burst, unsigned i, std::uint16_t mtu);

// Delivers a translated burst, its frames in their order, cut where need be.
template <Direction direction>
[[gnu::cold]] void deliver_in_pieces(Context& context, Burst& burst);

extern template void deliver_in_pieces<Direction::Outbound>(Context&, Burst&);
extern template void deliver_in_pieces<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
