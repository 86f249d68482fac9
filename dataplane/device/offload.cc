// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/offload.h"

#include <algorithm>
#include <cstring>
#include <rte_ip.h>
#include <rte_net.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "dataplane/frame/new_frame.h"
#include "net/checksum.h"

namespace vmnat::dataplane {
namespace {

constexpr std::uint64_t kReceiveMarks =
    RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_IP_CKSUM_MASK;

// Settled frames have their lengths written on them; a TCP header has 20 bytes or more, UDP's has 8.
UnfinishedHeaders headers_of(const rte_mbuf* frame) {
  UnfinishedHeaders headers{.is_tcp = frame->l4_len > sizeof(rte_udp_hdr)};
  headers.l3 = frame->l2_len;
  headers.l4 = headers.l3 + frame->l3_len;
  headers.payload = headers.l4 + frame->l4_len;
  headers.is_ipv4 = *rte_pktmbuf_mtod_offset(frame, const std::uint8_t*, headers.l3) >> 4 == 4;
  return headers;
}

// RFC 8200 8.1: behind extension headers the length and the protocol are those of the transport header.
std::uint16_t pseudo_header_sum(const rte_mbuf* frame, const UnfinishedHeaders& headers) {
  if (headers.is_ipv4)
    return rte_ipv4_phdr_cksum(rte_pktmbuf_mtod_offset(frame, const rte_ipv4_hdr*, headers.l3), 0);
  rte_ipv6_hdr pseudo = *rte_pktmbuf_mtod_offset(frame, const rte_ipv6_hdr*, headers.l3);
  pseudo.payload_len = rte_cpu_to_be_16(static_cast<std::uint16_t>(frame->pkt_len - headers.l4));
  pseudo.proto = headers.is_tcp ? IPPROTO_TCP : IPPROTO_UDP;
  return rte_ipv6_phdr_cksum(&pseudo, 0);
}

void write_at(rte_mbuf* frame, std::size_t offset, std::uint16_t value) {
  std::memcpy(rte_pktmbuf_mtod_offset(frame, char*, offset), &value, sizeof value);
}

// Of all that follows the IP header, where the frame ends. RFC 768: a computed 0 of UDP is sent as ones.
void write_checksum(rte_mbuf* frame, const UnfinishedHeaders& headers) {
  const std::size_t field = headers.l4 + checksum_offset(headers.is_tcp);
  write_at(frame, field, 0);
  std::uint16_t payload_sum = 0;
  rte_raw_cksum_mbuf(frame, headers.l4, frame->pkt_len - headers.l4, &payload_sum);
  const net::Be16 sum = net::checksum_of(std::uint64_t{payload_sum} + pseudo_header_sum(frame, headers));
  write_at(frame, field, sum.raw() == 0 && !headers.is_tcp ? std::uint16_t{0xffff} : sum.raw());
}

void leave_to_device(rte_mbuf* frame, const UnfinishedHeaders& headers, bool in_segments) {
  frame->ol_flags &= ~kReceiveMarks;
  frame->ol_flags |= headers.is_ipv4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
  frame->ol_flags |= headers.is_tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
  if (in_segments) frame->ol_flags |= headers.is_tcp ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
  if (in_segments && headers.is_ipv4) frame->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
  rte_net_intel_cksum_prepare(frame);  // the pseudo-header's sum, as devices want it
}

// DPDK's pseudo-header knows no extension headers of IPv6.
bool takes_headers(const UnfinishedHeaders& headers) {
  return headers.is_ipv4 || headers.l4 - headers.l3 == sizeof(rte_ipv6_hdr);
}

bool takes_segments(const UnfinishedHeaders& headers, const Offloads& offloads) {
  if (!headers.is_tcp) return offloads.udp_segments;
  return headers.is_ipv4 ? offloads.tcp4_segments : offloads.tcp6_segments;
}

bool takes_whole(const rte_mbuf* frame, const UnfinishedHeaders& headers, const Offloads& offloads) {
  return takes_segments(headers, offloads) && takes_headers(headers) &&
         frame->tso_segsz >= offloads.least_segment && frame->nb_segs <= offloads.most_buffers;
}

}  // namespace

void set_headers(rte_mbuf* frame, const UnfinishedHeaders& headers) {
  frame->l2_len = headers.l3;
  frame->l3_len = headers.l4 - headers.l3;
  frame->l4_len = headers.payload - headers.l4;
}

virtio::NetHeader virtio_header_of(rte_mbuf* frame) {
  using virtio::NetHeader;
  NetHeader header;
  if ((frame->ol_flags & RTE_MBUF_F_TX_L4_MASK) == 0) return header;
  const bool is_tcp = (frame->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
  const bool is_ipv4 = (frame->ol_flags & RTE_MBUF_F_TX_IPV4) != 0;
  const auto l4 = static_cast<std::uint16_t>(frame->l2_len + frame->l3_len);
  header.flags = NetHeader::kNeedsChecksum;
  header.checksum_start = l4;
  header.checksum_offset = checksum_offset(is_tcp);
  if ((frame->ol_flags & (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) == 0) return header;
  header.segmentation = is_tcp ? (is_ipv4 ? NetHeader::kTcp4 : NetHeader::kTcp6) : NetHeader::kUdpSegments;
  header.segment_size = frame->tso_segsz;
  header.headers_length = static_cast<std::uint16_t>(l4 + frame->l4_len);
  // Devices want the sum without the length and make the IPv4 checksum of each segment; guests do not.
  write_at(frame, l4 + header.checksum_offset, pseudo_header_sum(frame, headers_of(frame)));
  if (is_ipv4) {
    auto* const ip = rte_pktmbuf_mtod_offset(frame, rte_ipv4_hdr*, frame->l2_len);
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
  }
  return header;
}

void finish_checksum(rte_mbuf* frame) {
  if ((frame->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) != RTE_MBUF_F_RX_L4_CKSUM_NONE) return;
  frame->ol_flags &= ~RTE_MBUF_F_RX_L4_CKSUM_MASK;
  write_checksum(frame, headers_of(frame));
}

bool has_segments_up_to(const rte_mbuf* frame, std::uint16_t mtu) {
  return frame->l3_len + frame->l4_len + frame->tso_segsz <= mtu;
}

Remaining prepare_to_leave(rte_mbuf* frame, Offloads offloads) {
  const UnfinishedHeaders headers = headers_of(frame);
  if (is_super_frame(frame)) {
    if (!takes_whole(frame, headers, offloads)) return Remaining::Segments;
    leave_to_device(frame, headers, true);
  } else if (offloads.checksums && takes_headers(headers)) {
    leave_to_device(frame, headers, false);
  } else {
    frame->ol_flags &= ~kReceiveMarks;
    write_checksum(frame, headers);
  }
  return Remaining::Nothing;
}

Segmenter::Segmenter(rte_mbuf* frame)
    : frame_(frame),
      headers_(headers_of(frame)),
      payload_(frame->pkt_len - headers_.payload),
      most_(frame->tso_segsz) {
  // TCP may be cut smaller than it asks for, where a buffer holds no more.
  const auto room = static_cast<std::uint32_t>(longest_new_frame(frame->pool));
  if (headers_.is_tcp) most_ = std::min(most_, room - headers_.payload);
}

rte_mbuf* Segmenter::next() {
  const std::uint32_t size = std::min(most_, payload_ - begin_);
  const bool is_last = begin_ + size == payload_;
  const std::uint32_t length = headers_.payload + size;
  rte_mbuf* segment = new_frame(length, frame_->pool);
  if (segment == nullptr) return nullptr;
  auto* const start = rte_pktmbuf_mtod(segment, char*);
  std::memcpy(start, rte_pktmbuf_mtod(frame_, const char*), headers_.payload);
  const void* payload = rte_pktmbuf_read(frame_, headers_.payload + begin_, size, start + headers_.payload);
  if (payload != start + headers_.payload) std::memcpy(start + headers_.payload, payload, size);

  if (headers_.is_tcp)
    adapt_tcp(segment, is_last);
  else
    rte_pktmbuf_mtod_offset(segment, rte_udp_hdr*, headers_.l4)->dgram_len =
        rte_cpu_to_be_16(static_cast<std::uint16_t>(sizeof(rte_udp_hdr) + size));
  const auto l3_length = static_cast<std::uint16_t>(headers_.payload + size - headers_.l3);
  if (headers_.is_ipv4) {
    auto* const ip = rte_pktmbuf_mtod_offset(segment, rte_ipv4_hdr*, headers_.l3);
    ip->total_length = rte_cpu_to_be_16(l3_length);
    ip->packet_id = rte_cpu_to_be_16(static_cast<std::uint16_t>(rte_be_to_cpu_16(ip->packet_id) + number_));
    ip->hdr_checksum = 0;
    ip->hdr_checksum = rte_ipv4_cksum(ip);
  } else {
    auto* const ip = rte_pktmbuf_mtod_offset(segment, rte_ipv6_hdr*, headers_.l3);
    ip->payload_len = rte_cpu_to_be_16(static_cast<std::uint16_t>(l3_length - sizeof *ip));
  }
  write_checksum(segment, headers_);
  begin_ += size;
  ++number_;
  return segment;
}

void Segmenter::adapt_tcp(rte_mbuf* segment, bool is_last) const {
  auto* const tcp = rte_pktmbuf_mtod_offset(segment, rte_tcp_hdr*, headers_.l4);
  tcp->sent_seq = rte_cpu_to_be_32(rte_be_to_cpu_32(tcp->sent_seq) + begin_);
  if (!is_last) tcp->tcp_flags &= static_cast<std::uint8_t>(~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG));
  if (begin_ != 0) tcp->tcp_flags &= static_cast<std::uint8_t>(~RTE_TCP_CWR_FLAG);  // RFC 3168: once
}

}  // namespace vmnat::dataplane
