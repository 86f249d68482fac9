// SPDX-License-Identifier: Apache-2.0
#include "dataplane/detours/tcp_reset.h"

#include <span>

#include "dataplane/frame/new_frame.h"
#include "net/checksum.h"

namespace vmnat::dataplane {
namespace {

using net::Ipv4Header;
using net::TcpHeader;

constexpr std::uint16_t kDontFragment = 0x4000;  // so that no identification is needed: RFC 6864 section 4.1

struct Reset {
  net::EthernetHeader ethernet;
  Ipv4Header ip;
  TcpHeader tcp;
};
static_assert(sizeof(Reset) == 54);

TcpHeader tcp_of(const TcpHeader& about, const conntrack::TcpSegment& segment) {
  const bool has_ack = segment.has(TcpHeader::kAck);
  const std::uint8_t flags = has_ack ? TcpHeader::kRst : TcpHeader::kRst | TcpHeader::kAck;
  return {.source_port = about.destination_port,
          .destination_port = about.source_port,
          .sequence = net::Be32::from_host(has_ack ? segment.acknowledged : 0),
          .acknowledgment = net::Be32::from_host(has_ack ? 0 : segment.end()),
          .data_offset = sizeof(TcpHeader) / 4 << 4,
          .flags = flags};
}

Ipv4Header ip_of(const Ipv4Header& about) {
  return {.version_ihl = 0x45,
          .total_length = net::Be16::from_host(sizeof(Ipv4Header) + sizeof(TcpHeader)),
          .fragment = net::Be16::from_host(kDontFragment),
          .ttl = net::kInitialTtl,
          .protocol_number = static_cast<std::uint8_t>(net::Protocol::Tcp),
          .source = about.destination,
          .destination = about.source};
}

void fill_checksums(Reset& reset) {
  net::write_checksum(reset.ip);
  reset.tcp.checksum =
      net::checksum_of(net::added_sum(std::as_bytes(std::span{&reset.tcp, 1}),
                                      net::pseudo_header_sum(reset.ip.source, reset.ip.destination,
                                                             reset.ip.protocol_number, sizeof reset.tcp)));
}

}  // namespace

rte_mbuf* reset_about(rte_mbuf* frame, const ParsedPacket& packet) {
  const net::EthernetHeader& ethernet = ethernet_of(frame);
  Reset reset = {
      .ethernet = {.destination = ethernet.source, .source = ethernet.destination, .type = ethernet.type},
      .ip = ip_of(ipv4_of(frame)),
      .tcp = tcp_of(l4_of<TcpHeader>(frame, packet), segment_of(frame, packet))};
  fill_checksums(reset);
  return new_frame(std::as_bytes(std::span{&reset, 1}), frame->pool);
}

}  // namespace vmnat::dataplane
