// SPDX-License-Identifier: Apache-2.0
// Claims: a guest's, or a driver's, statements about a frame are checked against its bytes, once, before
// anything is computed from them. Cold, but for one test a frame.
//
// virtio's header says that a checksum is missing, and where, and that TCP is to be cut into segments.
// Nothing makes these claims agree with each other, with IP's lengths or with the bytes that are there. So a
// worker settles them when it receives the frame, whoever drove the ring: the frame then is what its bytes
// allow, or it is dropped. Example, a frame of 9014 bytes in segments of 1448 whose IP header says 3000:
//
//   claimed  [eth][ip 3000, tcp, 8960 bytes]  gso_size 1448
//   settled  [eth][ip 3000, tcp, 2960 bytes]  gso_size 1448
//
// Invariants of a settled frame that is unfinished, all the way through the pipeline:
//
//   - it is TCP or UDP over IP, all headers lie in the first buffer, where l2_len, l3_len and l4_len say, and
//     it is as long as IP says: at most 65535 bytes and its link header, IPv6 40 more
//   - a super-frame has more than one segment and at most kMostSegments; TCP's have at least kLeastSegment bytes
//
// A super-frame without anything to cut becomes an ordinary frame. A frame whose claims cannot be right ends
// as drop.offload.
#pragma once

#include <rte_mbuf.h>

#include "dataplane/device/virtio.h"

namespace vmnat::dataplane {

inline constexpr std::uint32_t kLeastSegment = 64;   // bytes of payload
inline constexpr std::uint32_t kMostSegments = 256;  // 65535 bytes at an MSS of 256

// Settles a frame by its guest's claims (virtio 1.1, 5.1.6.2); hdr_len, a hint, is not looked at. A checksum
// of another protocol than TCP or UDP is finished at once. A frame whose claims cannot be right is left
// unfinished and not settled.
[[gnu::cold]] void mark_unfinished(rte_mbuf* frame, const virtio::NetHeader& header);

// Settles a frame whose driver left receive flags on it, unless it is settled. False: they cannot be right.
[[gnu::cold]] bool settle(rte_mbuf* frame);

}  // namespace vmnat::dataplane
