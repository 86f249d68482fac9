// SPDX-License-Identifier: Apache-2.0
// Claims: what a guest, or a driver, says of a frame is held against its bytes, once, before anything is
// computed from it. Cold, but for one test a frame.
//
// virtio's header says that a checksum is missing, and where, and that TCP is to be cut into segments;
// nothing makes the guest's words agree with each other, with IP's lengths or with what is there. Whoever
// drove the ring, a worker settles it as the frame comes in. Example, a frame of 9014 bytes in segments of
// 1448 whose IP header says 3000:
//
//   claimed  [eth][ip 3000, tcp, 8960 bytes]  gso_size 1448  ->  settled  [eth][ip 3000, tcp, 2960 bytes]
//   1448
//
// Of a settled frame that is unfinished still holds, all the way through the pipeline:
//
//   - it is TCP or UDP over IP, all headers lie in the first buffer, where l2_len, l3_len and l4_len say, and
//     it is as long as IP says: at most 65535 bytes and its link header, IPv6 40 more
//   - a super-frame is TCP and has more than one segment of at least kLeastSegment bytes, and at most
//     kMostSegments of them
//
// A super-frame without anything to cut is an ordinary frame. What cannot be right ends as drop.offload.
#pragma once

#include <rte_mbuf.h>

#include "dataplane/device/virtio.h"

namespace vmnat::dataplane {

inline constexpr std::uint32_t kLeastSegment = 64;   // bytes of payload
inline constexpr std::uint32_t kMostSegments = 256;  // 65535 bytes at an MSS of 256

// Settles a frame by what its guest says (virtio 1.1, 5.1.6.2); hdr_len, a hint, is not looked at. A checksum
// of something else than TCP or UDP is finished at once. What cannot be right is unfinished and not settled.
[[gnu::cold]] void mark_unfinished(rte_mbuf* frame, const virtio::NetHeader& header);

// Settles a frame whose driver left receive flags on it, unless it is. False: it cannot be right.
[[gnu::cold]] bool settle(rte_mbuf* frame);

}  // namespace vmnat::dataplane
