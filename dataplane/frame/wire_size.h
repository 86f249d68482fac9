// SPDX-License-Identifier: Apache-2.0
// What a frame is on a wire: a super-frame is the segments that it will be cut into, each with all headers.
//
// Bytes are those from the destination's MAC to the end of the packet, as Linux's queueing disciplines count them:
// without the check sequence (4), preamble and gap (20). Example, 40 KB of TCP in segments of 1448 behind 66 bytes of
// headers: 40 066 bytes in memory, 41 914 in 29 frames on the wire.
#pragma once

#include <cstdint>
#include <rte_mbuf.h>

namespace vmnat::dataplane {

inline constexpr std::uint32_t kFullFrame = 1514;  // bytes, of an MTU of 1500

struct WireSize {
  std::uint64_t bytes = 0;
  std::uint32_t frames = 0;

  WireSize& operator+=(const WireSize& more) {
    bytes += more.bytes;
    frames += more.frames;
    return *this;
  }
  bool operator==(const WireSize&) const = default;
};

// Of a super-frame whose claims are settled (claims.h), or that is ready to leave.
inline WireSize wire_size(const rte_mbuf* frame) {
  constexpr std::uint64_t kSuper = RTE_MBUF_F_RX_LRO | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG;
  if ((frame->ol_flags & kSuper) == 0) return {frame->pkt_len, 1};
  const std::uint32_t headers = static_cast<std::uint32_t>(frame->l2_len) + frame->l3_len + frame->l4_len;
  if (frame->tso_segsz == 0 || headers >= frame->pkt_len) return {frame->pkt_len, 1};
  const std::uint32_t payload = frame->pkt_len - headers;
  const std::uint32_t segments = (payload + frame->tso_segsz - 1) / frame->tso_segsz;
  return {std::uint64_t{payload} + std::uint64_t{segments} * headers, segments};
}

}  // namespace vmnat::dataplane
