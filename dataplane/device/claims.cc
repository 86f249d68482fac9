// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/claims.h"

#include <cstring>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_net.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "dataplane/device/offload.h"
#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {
namespace {

using virtio::NetHeader;

constexpr unsigned kMostOuterTags = 4;  // beyond that it is no frame that anybody sends
constexpr std::uint64_t kClaims = RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_MASK;

// A frame's headers as its bytes have them.
struct Found {
  UnfinishedHeaders headers;
  bool is_ip = false;
  std::uint32_t end = 0;       // where IP says that the frame ends; 0: that cannot be
  bool is_tcp_or_udp = false;  // whole, and within `end`
};

// 0 when IP says more than is there, or less than its own header.
std::uint32_t end_of_packet(const rte_mbuf* frame, const UnfinishedHeaders& headers) {
  std::uint32_t length = 0;
  if (headers.is_ipv4)
    length = rte_be_to_cpu_16(rte_pktmbuf_mtod_offset(frame, const rte_ipv4_hdr*, headers.l3)->total_length);
  else
    length = sizeof(rte_ipv6_hdr) +
             rte_be_to_cpu_16(rte_pktmbuf_mtod_offset(frame, const rte_ipv6_hdr*, headers.l3)->payload_len);
  const std::uint32_t end = headers.l3 + length;
  return end < headers.l4 || end > frame->pkt_len ? 0 : end;
}

// l2_len, l3_len and l4_len have so many bits.
bool can_be_written(const rte_net_hdr_lens& lengths) {
  return lengths.l2_len < 1u << RTE_MBUF_L2_LEN_BITS && lengths.l3_len < 1u << RTE_MBUF_L3_LEN_BITS;
}

// A frame with one VLAN tag right behind another, of the type that DPDK takes for the only one.
bool has_tag_before_tag(const rte_mbuf* frame) {
  constexpr std::uint32_t kSecond = sizeof(rte_ether_hdr) + sizeof(rte_vlan_hdr);
  if (frame->data_len < kSecond) return false;
  const rte_be16_t vlan = RTE_BE16(RTE_ETHER_TYPE_VLAN);
  const auto* const ethernet = rte_pktmbuf_mtod(frame, const rte_ether_hdr*);
  const auto* const tag = rte_pktmbuf_mtod_offset(frame, const rte_vlan_hdr*, sizeof *ethernet);
  return ethernet->ether_type == vlan && tag->eth_proto == vlan;
}

// Where its headers are, and of which type. What is behind outer tags is looked at as if it began so much later: the
// last tag's type is then where a frame has its own.
std::uint32_t find_headers(const rte_mbuf* frame, rte_net_hdr_lens& lengths) {
  constexpr std::uint32_t kAll = RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK | RTE_PTYPE_L4_MASK;
  if (!has_tag_before_tag(frame)) return rte_net_get_ptype(frame, &lengths, kAll);
  rte_mbuf inner = *frame;
  std::uint8_t outer = 0;
  for (; has_tag_before_tag(&inner) && outer < kMostOuterTags; ++outer)
    rte_pktmbuf_adj(&inner, sizeof(rte_vlan_hdr));
  const std::uint32_t type = rte_net_get_ptype(&inner, &lengths, kAll);
  lengths.l2_len = static_cast<std::uint8_t>(lengths.l2_len + outer * sizeof(rte_vlan_hdr));
  return type;
}

Found look_into(const rte_mbuf* frame) {
  rte_net_hdr_lens lengths{};
  const std::uint32_t type = find_headers(frame, lengths);
  const std::uint32_t l4 = type & RTE_PTYPE_L4_MASK;
  const bool is_tcp = l4 == RTE_PTYPE_L4_TCP;
  Found found;
  UnfinishedHeaders& headers = found.headers;
  headers = {.is_tcp = is_tcp, .is_ipv4 = RTE_ETH_IS_IPV4_HDR(type) != 0};
  headers.l3 = lengths.l2_len;
  headers.l4 = headers.l3 + lengths.l3_len;
  headers.payload = headers.l4 + lengths.l4_len;
  found.is_ip = headers.is_ipv4 || RTE_ETH_IS_IPV6_HDR(type);
  if (!found.is_ip || !can_be_written(lengths) || headers.l4 > frame->data_len) return found;
  found.end = end_of_packet(frame, headers);
  found.is_tcp_or_udp = (is_tcp ? lengths.l4_len >= sizeof(rte_tcp_hdr) : l4 == RTE_PTYPE_L4_UDP) &&
                        headers.payload <= frame->data_len && headers.payload <= found.end;
  return found;
}

bool is_super_frame_of(const Found& found, std::uint32_t segment_size) {
  return found.end - found.headers.payload > segment_size;
}

// UDP's segments are what an application sends: as short as it likes.
bool is_cut_reasonably(const Found& found, std::uint32_t segment_size) {
  return segment_size >= (found.headers.is_tcp ? kLeastSegment : 1) &&
         (found.end - found.headers.payload - 1) / segment_size < kMostSegments;
}

// A checksum of any protocol: over what is behind `start`, with the pseudo-header's share in the field.
bool finish_plain_sum(rte_mbuf* frame, std::uint32_t start, std::uint32_t field) {
  std::uint16_t sum = 0;
  if (field + sizeof sum > frame->data_len || start >= frame->pkt_len) return false;
  if (rte_raw_cksum_mbuf(frame, start, frame->pkt_len - start, &sum) != 0) return false;
  const auto value = sum == 0xffff ? sum : static_cast<std::uint16_t>(~sum);
  std::memcpy(rte_pktmbuf_mtod_offset(frame, char*, field), &value, sizeof value);
  return true;
}

// It leaves with the work that its flags name.
void settle_as(rte_mbuf* frame, const Found& found, std::uint64_t flags, std::uint16_t segment_size) {
  trim(frame, found.end);
  set_headers(frame, found.headers);
  frame->ol_flags = (frame->ol_flags & ~kClaims) | flags;
  frame->tso_segsz = segment_size;
}

bool is_super_frame_type(std::uint8_t segmentation, const Found& found) {
  if (!found.is_tcp_or_udp) return false;
  if (!found.headers.is_tcp) return segmentation == NetHeader::kUdpSegments;
  return segmentation == (found.headers.is_ipv4 ? NetHeader::kTcp4 : NetHeader::kTcp6);
}

// The frame may be cut, `needs_checksum` says what is left when there is nothing to cut. False: it cannot.
bool settle_segments(rte_mbuf* frame, const Found& found, std::uint16_t segment_size, bool needs_checksum) {
  if (segment_size == 0) return false;
  if (!is_super_frame_of(found, segment_size)) {
    settle_as(frame, found, needs_checksum ? RTE_MBUF_F_RX_L4_CKSUM_NONE : 0, 0);
    return true;
  }
  if (!is_cut_reasonably(found, segment_size)) return false;
  settle_as(frame, found, RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE, segment_size);
  return true;
}

// The checksum that is missing is TCP's or UDP's own.
bool is_at_its_place(const Found& found, const NetHeader& header) {
  return found.is_tcp_or_udp && header.checksum_start == found.headers.l4 &&
         header.checksum_offset == checksum_offset(found.headers.is_tcp);
}

bool settle_checksum(rte_mbuf* frame, const Found& found, const NetHeader& header) {
  if (is_at_its_place(found, header)) {
    settle_as(frame, found, RTE_MBUF_F_RX_L4_CKSUM_NONE, 0);
    return true;
  }
  if (found.is_ip && found.end == 0) return false;
  if (found.is_ip) trim(frame, found.end);
  return finish_plain_sum(frame, header.checksum_start,
                          std::uint32_t{header.checksum_start} + header.checksum_offset);
}

bool settle_by(rte_mbuf* frame, const NetHeader& header) {
  const Found found = look_into(frame);
  const bool needs_checksum = (header.flags & NetHeader::kNeedsChecksum) != 0;
  const auto segmentation = static_cast<std::uint8_t>(header.segmentation & ~NetHeader::kEcn);
  if (segmentation == 0) return !needs_checksum || settle_checksum(frame, found, header);
  if (!is_super_frame_type(segmentation, found)) return false;
  if (needs_checksum && !is_at_its_place(found, header)) return false;
  return settle_segments(frame, found, header.segment_size, needs_checksum);
}

// Settled frames know where their headers are; fresh ones have zeroes there.
bool is_settled(const rte_mbuf* frame) {
  return frame->l2_len != 0;
}

}  // namespace

void mark_unfinished(rte_mbuf* frame, const NetHeader& header) {
  if (frame->pkt_len == 0 || settle_by(frame, header)) return;  // nothing is a runt, whatever is said of it
  frame->tx_offload = 0;                                        // no segment size: settle() refuses it
  frame->ol_flags |= RTE_MBUF_F_RX_LRO;
}

bool settle(rte_mbuf* frame) {
  if (is_settled(frame)) return true;
  const Found found = look_into(frame);
  if (!found.is_tcp_or_udp) return false;
  if (is_super_frame(frame)) return settle_segments(frame, found, frame->tso_segsz, true);
  settle_as(frame, found, RTE_MBUF_F_RX_L4_CKSUM_NONE, 0);
  return true;
}

}  // namespace vmnat::dataplane
