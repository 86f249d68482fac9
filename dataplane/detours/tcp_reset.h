// SPDX-License-Identifier: Apache-2.0
// TCP reset: the RST that answers a segment of no connection, from the address that the segment was for (RFC
// 9293 section 3.10.7.1, CLOSED). So its sender knows at once that the connection is gone, as after a restart
// of the gateway.
//
//   segment with ACK   RST, SEQ = its acknowledgement number
//   without            RST ACK, SEQ = 0, ACK = what follows the segment
#pragma once

#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {

// For a whole segment that is no RST. nullptr: no buffer is available.
[[gnu::cold]] rte_mbuf* reset_about(rte_mbuf* frame, const ParsedPacket& packet);

}  // namespace vmnat::dataplane
