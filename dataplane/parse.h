// SPDX-License-Identifier: Apache-2.0
// Parse: bytes -> ParsedPacket and FlowKey. Nothing is read that may not be there.
//
// Every length that the packet claims (IHL, total length, TCP data offset, UDP length) is held against
// the frame's real one, and the headers must lie in the first buffer segment. What is wrong is not
// dropped here but noted as the packet's `fault`: a frame between two VMs is switched whatever it holds.
// The key's local endpoint is the source for Outbound frames and the destination for Inbound ones.
#pragma once

#include "dataplane/packet.h"

namespace vmnat::dataplane {

template <Direction direction>
void parse(Burst& burst);

extern template void parse<Direction::Outbound>(Burst&);
extern template void parse<Direction::Inbound>(Burst&);

}  // namespace vmnat::dataplane
