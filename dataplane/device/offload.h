// SPDX-License-Identifier: Apache-2.0
// Offload: checksums and segmentation that a guest has left to its device. They are passed on to the device
// that the frame leaves by, or done here. Cold, but for one test a frame.
//
// A guest, or a kernel interface's other end, may send TCP and UDP with a checksum that covers the pseudo-header
// alone ("partial"), and super-frames of up to 64 KB that shall leave as segments (virtio 1.1, 5.1.6.2): of TCP,
// or of UDP, whose segments are datagrams. The mbuf says so, in its
// receive flags L4_CKSUM_NONE and LRO with tso_segsz, all the way through the pipeline. The transmitter
// passes the work on where the device takes it, else does it. Example, 40 KB of TCP in segments of 1448:
//
//   guest -> [eth][ip, tcp, 40 KB] -> a guest that takes TSO: one frame, nothing summed up
//                                  -> any other device: 29 frames with finished checksums
//
// The frame's claims are settled before (claims.h): an unfinished frame is TCP or UDP over IP, as long as IP
// says, with all headers in its first buffer, at l2_len, l3_len and l4_len; a super-frame has more
// payload than one segment. Translation need not know of offloads: the checksum is made from the addresses
// and ports that the frame leaves with.
#pragma once

#include <cstdint>
#include <rte_mbuf.h>

#include "dataplane/device/virtio.h"

namespace vmnat::dataplane {

// What a device does by itself for frames that it transmits.
struct Offloads {
  bool checksums = false;  // finishes partial checksums of TCP and UDP; or is a guest, which trusts them
  bool tcp4_segments = false;
  bool tcp6_segments = false;
  bool udp_segments = false;
  bool prefers_segments = false;            // of TCP: a NIC, to which a frame more costs next to nothing
  std::uint16_t least_segment = 0;          // of a super-frame that it takes, bytes of payload
  std::uint16_t most_buffers = UINT16_MAX;  // of a frame
  // One super-frame costs the receiver less than its segments: they are put together for it (gro.h).
  [[nodiscard]] bool takes_merged() const { return tcp4_segments && !prefers_segments; }
  bool operator==(const Offloads&) const = default;
};

// Of a guest with these features of virtio.
constexpr Offloads offloads_of_guest(std::uint64_t features) {
  const bool checksums = (features & virtio::kGuestChecksums) != 0;
  return {.checksums = checksums,
          .tcp4_segments = checksums && (features & virtio::kGuestTso4) != 0,
          .tcp6_segments = checksums && (features & virtio::kGuestTso6) != 0};
}

// A NIC's verdict, L4_CKSUM_BAD or GOOD alone, is nothing that was left undone: NONE is both bits together.
inline bool is_unfinished(const rte_mbuf* frame) {
  return (frame->ol_flags & RTE_MBUF_F_RX_LRO) != 0 ||
         (frame->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
}

// Quick: of some that have a NIC's verdict, too.
inline bool may_be_unfinished(std::uint64_t flags) {
  return (flags & (RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_BAD)) != 0;
}

inline bool is_super_frame(const rte_mbuf* frame) {
  return (frame->ol_flags & RTE_MBUF_F_RX_LRO) != 0;
}

// Flags of a frame that leaves something to the device that it was prepared for.
inline constexpr std::uint64_t kTransmitMarks =
    RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IP_CKSUM;

// What a guest, or the kernel, is told of a frame that was prepared to leave to it. Its pseudo-header's sum is
// made virtio's.
[[gnu::cold]] virtio::NetHeader virtio_header_of(rte_mbuf* frame);

// Writes the checksum of a partial frame; for what does not leave by a device.
[[gnu::cold]] void finish_checksum(rte_mbuf* frame);

// A super-frame whose segments are IP packets of at most `mtu` bytes.
[[gnu::cold]] bool has_segments_up_to(const rte_mbuf* frame, std::uint16_t mtu);

// Where the headers of an unfinished frame lie, VLAN tags and IPv6 extension headers included: offsets.
struct UnfinishedHeaders {
  bool is_tcp = false;  // else UDP
  bool is_ipv4 = false;
  std::uint32_t l3 = 0, l4 = 0, payload = 0;
};
// Of the checksum, from the transport header on: bytes.
constexpr std::uint16_t checksum_offset(bool is_tcp) {
  return is_tcp ? 16 : 6;
}
// Says so of a frame for the device that it leaves by.
void set_headers(rte_mbuf* frame, const UnfinishedHeaders& headers);

// What remains to be done with an unfinished frame before a device with these offloads takes it.
enum class Remaining : std::uint8_t {
  Nothing,   // the work was done, or the frame is marked for the device to do it
  Segments,  // cut it by Segmenter
};
[[gnu::cold]] Remaining prepare_to_leave(rte_mbuf* frame, Offloads offloads);

// The segments of a super-frame, one after another, each in a buffer of its own with finished checksums.
class Segmenter {
 public:
  explicit Segmenter(rte_mbuf* frame);
  [[nodiscard]] bool has_next() const { return begin_ < payload_; }
  rte_mbuf* next();  // nullptr: no buffer, or none that takes a segment

 private:
  void adapt_tcp(rte_mbuf* segment, bool is_last) const;
  rte_mbuf* frame_;
  UnfinishedHeaders headers_;
  std::uint32_t payload_;  // bytes of all segments
  std::uint32_t most_;     // of one
  std::uint32_t begin_ = 0;
  std::uint16_t number_ = 0;
};

}  // namespace vmnat::dataplane
