// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/translate.h"

#include "dataplane/pipeline/mss_clamp.h"
#include "net/checksum.h"

namespace vmnat::dataplane {
namespace {

constexpr std::uint16_t kLongestHeaders = 20 + 60;  // of IPv4 without options, and TCP with all that fit

constexpr std::uint8_t kDccp = 33, kUdpLite = 136;

template <Direction direction>
void rewrite_ip(net::Ipv4Header& ip, const conntrack::Rewrite& rewrite) {
  (direction == Direction::Outbound ? ip.source : ip.destination) = rewrite.endpoint.address;
  ip.ttl = static_cast<std::uint8_t>(ip.ttl - 1);
  ip.checksum = (rewrite.address_delta + net::kHopDelta).applied_to(ip.checksum);
}

// Of the protocols without ports that we know, two have a checksum that covers the addresses: UDP-Lite (RFC
// 3828 3.1) and DCCP (RFC 4340 9.1), at the same place; UDP-Lite never sends 0, like UDP.
[[gnu::cold]] void mend_portless(rte_mbuf* frame, const ParsedPacket& packet, net::ChecksumDelta delta) {
  const net::Ipv4Header& ip = ipv4_of(frame);
  constexpr std::size_t kOffset = 6;
  const std::size_t end = packet.l4_offset + kOffset + sizeof(net::Be16);
  if (ip.fragment_offset() != 0 || end > sizeof(net::EthernetHeader) + packet.total_length ||
      end > frame->data_len)
    return;
  auto& checksum = *rte_pktmbuf_mtod_offset(frame, net::Be16*, packet.l4_offset + kOffset);
  checksum = ip.protocol_number == kUdpLite ? delta.applied_to_udp(checksum) : delta.applied_to(checksum);
}

// In line: the rewrite stays in registers.
template <Direction direction>
[[gnu::always_inline]] inline void rewrite_l4(rte_mbuf* frame, const ParsedPacket& packet,
                                              const conntrack::Rewrite& rewrite) {
  switch (packet.kind) {
    case PacketKind::Tcp: {
      auto& tcp = l4_of<net::TcpHeader>(frame, packet);
      (direction == Direction::Outbound ? tcp.source_port : tcp.destination_port) = rewrite.endpoint.port;
      tcp.checksum = rewrite.l4_delta.applied_to(tcp.checksum);
      break;
    }
    case PacketKind::Udp: {
      auto& udp = l4_of<net::UdpHeader>(frame, packet);
      (direction == Direction::Outbound ? udp.source_port : udp.destination_port) = rewrite.endpoint.port;
      udp.checksum = rewrite.l4_delta.applied_to_udp(udp.checksum);
      break;
    }
    case PacketKind::IcmpRequest:
    case PacketKind::IcmpReply: {
      auto& icmp = l4_of<net::IcmpHeader>(frame, packet);
      icmp.identifier = rewrite.endpoint.port;
      icmp.checksum = rewrite.l4_delta.applied_to(icmp.checksum);
      break;
    }
    case PacketKind::Other: {
      const std::uint8_t protocol = ipv4_of(frame).protocol_number;
      if (protocol == kUdpLite || protocol == kDccp) mend_portless(frame, packet, rewrite.address_delta);
      break;
    }
    default:
      break;  // no transport header that we know: the address alone
  }
}

[[gnu::cold]] void clamp_segment_size(const ForwardingState& state, const Session& session, rte_mbuf* frame,
                                      const ParsedPacket& packet) {
  const std::uint16_t most = state.network_at(session.vm_port()).most_mss;
  if (most == 0) return;
  clamp_mss({rte_pktmbuf_mtod_offset(frame, std::byte*, packet.l4_offset),
             static_cast<std::size_t>(frame->data_len - packet.l4_offset)},
            most);
}

}  // namespace

template <Direction direction>
void translate(Context& context, Burst& burst) {
  unsigned tcp_data_count = 0;
  for (unsigned i = 0; i < burst.count; ++i) {
    Session& session = *burst.sessions[i];
    const ParsedPacket& packet = burst.packets[i];
    const conntrack::Rewrite rewrite = session.rewrite<direction>();
    rewrite_ip<direction>(ipv4_of(burst.frames[i]), rewrite);
    rewrite_l4<direction>(burst.frames[i], packet, rewrite);
    session.count<direction>(packet.total_length);
    if (packet.kind != PacketKind::Tcp) {
      session.keep_alive<direction>(context.now);
      continue;
    }
    tcp_data_count += packet.total_length > kLongestHeaders;
    context.conntrack.follow_tcp<direction>(session, segment_of(burst.frames[i], packet), context.now);
    if ((packet.tcp_flags & net::TcpHeader::kSyn) != 0)
      clamp_segment_size(*context.state, session, burst.frames[i], packet);
  }
  burst.tcp_data_count = static_cast<std::uint16_t>(tcp_data_count);
}

void undo_translation(rte_mbuf* frame, const ParsedPacket& packet, const Session& session) {
  const conntrack::Rewrite back = session.rewrite<Direction::Inbound>();  // of what went out
  net::Ipv4Header& ip = ipv4_of(frame);
  ip.source = back.endpoint.address;
  ip.ttl = static_cast<std::uint8_t>(ip.ttl + 1);
  ip.checksum = (back.address_delta + net::kHopDelta.negated()).applied_to(ip.checksum);
  rewrite_l4<Direction::Outbound>(frame, packet, back);
}

template void translate<Direction::Outbound>(Context&, Burst&);
template void translate<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
