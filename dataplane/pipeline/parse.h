// SPDX-License-Identifier: Apache-2.0
// Parse: bytes -> ParsedPacket and FlowKey. Nothing is read that may not be there.
//
// Every length that the packet claims (IHL, total length, TCP data offset, UDP length) is checked against
// the frame's real one, and the headers must lie in the first buffer segment. A packet with a fault is not
// dropped here; parse notes the `fault`, because a frame between two VMs is switched whatever it holds.
// The key's local endpoint is the source for Outbound frames and the destination for Inbound ones.
// Fragments of TCP, UDP and ICMP are only marked as such, and the burst as having some.
#pragma once

#include "base/ids.h"
#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {

template <Direction direction>
void parse(Burst& burst);

// Parses the transport header of frame i, a first fragment, which is of kind Fragment so far. It becomes
// Unroutable with the fault L4Header when the header is not whole, or wrong.
template <Direction direction>
[[gnu::cold]] void parse_first_fragment(Burst& burst, unsigned i);

extern template void parse<Direction::Outbound>(Burst&);
extern template void parse<Direction::Inbound>(Burst&);
extern template void parse_first_fragment<Direction::Outbound>(Burst&, unsigned);
extern template void parse_first_fragment<Direction::Inbound>(Burst&, unsigned);

}  // namespace vmnat::dataplane
