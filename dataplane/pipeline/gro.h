// SPDX-License-Identifier: Apache-2.0
// GRO (generic receive offload): a burst's TCP segments that follow each other, put together for a guest or a
// kernel interface that takes super-frames, so that it has one frame to handle instead of many.
//
//   [tcp 1000][1000, 2448)   [tcp 2448][2448, 3896)   [tcp 3896][3896, 4000) PSH
//   ->  [tcp 1000][1000, 2448) - [2448, 3896) - [3896, 4000) PSH     one chain of buffers, nothing copied
//
// What comes of it is a super-frame as a guest would send it (offload.h): the transmitter leaves its checksum
// to the receiver, and cuts it up again should that have stopped taking them. So segments are merged only
// where cutting gives them back as they were, but for the identifications of IPv4 packets that are not to be
// fragmented, which mean nothing (RFC 6864 section 4.1), and for checksums, which therefore must be right, or
// left to the device:
//
//   - the same session and, but for PSH, the same fields and options of IPv4 and TCP, ACK being all flags:
//     acknowledgment, window, time stamps, ECN (RFC 3168 5.3: congestion marks are neither lost nor spread)
//   - each begins where the one before ends, and is as long as the first, at least kLeastSegment; a shorter
//     one, or PSH, is the last
//   - 65535 bytes with their headers at most
//
// A frame that does not fit ends its session's super-frame: no session's frames change their order. Nothing
// is held for the next burst. Segments are translated, measured and counted for their session before.
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// With fewer frames of TCP data in a burst there is nothing to do: acknowledgments and SYNs cost nothing
// here.
inline constexpr unsigned kFewestToMerge = 2;

// Frames that become part of an earlier one leave the burst, and are counted as `segments.merged`. `direction`:
// where the burst goes.
template <Direction direction>
void merge_segments(Context& context, Burst& burst);

}  // namespace vmnat::dataplane
