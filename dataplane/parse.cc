// SPDX-License-Identifier: Apache-2.0
#include "dataplane/parse.h"

#include <span>

#include "dataplane/net/checksum.h"

namespace vmnat::dataplane {
namespace {

using net::Endpoint;
using net::EthernetHeader;
using net::IcmpHeader;
using net::IcmpType;
using net::Ipv4Header;
using net::L4Port;
using net::TcpHeader;
using net::UdpHeader;
using net::view;

constexpr std::size_t kIpOffset = sizeof(EthernetHeader);

struct Ports {
  L4Port source;
  L4Port destination;
};

// A frame under examination: what lies in its first segment, and how long it is as a whole.
struct Frame {
  std::span<const std::byte> head;
  std::size_t length;
};

ParsedPacket unroutable(DropReason fault) {
  return {.kind = PacketKind::Unroutable, .fault = fault};
}

// Headers that should be there by the lengths but are not in the first segment are split, not cut.
ParsedPacket cut_short(const Frame& frame, std::size_t needed, DropReason fault) {
  return unroutable(frame.length >= needed && frame.head.size() < needed ? DropReason::HeadersSplit : fault);
}

bool has_good_checksum(const Frame& frame, std::size_t header_length) {
  return net::folded(net::added_sum(frame.head.subspan(kIpOffset, header_length))) == 0xffff;
}

ParsedPacket parse_tcp(const Frame& frame, ParsedPacket packet, std::size_t l4_length, Ports& ports) {
  const auto* tcp = view<TcpHeader>(frame.head, packet.l4_offset);
  if (l4_length < sizeof(TcpHeader) || tcp == nullptr)
    return cut_short(frame, packet.l4_offset + sizeof(TcpHeader), DropReason::L4Header);
  if (tcp->header_length() < sizeof(TcpHeader) || tcp->header_length() > l4_length)
    return unroutable(DropReason::L4Header);
  packet.kind = PacketKind::Tcp;
  packet.tcp_flags = tcp->flags;
  ports = {tcp->source_port, tcp->destination_port};
  return packet;
}

ParsedPacket parse_udp(const Frame& frame, ParsedPacket packet, std::size_t l4_length, Ports& ports) {
  const auto* udp = view<UdpHeader>(frame.head, packet.l4_offset);
  if (l4_length < sizeof(UdpHeader) || udp == nullptr)
    return cut_short(frame, packet.l4_offset + sizeof(UdpHeader), DropReason::L4Header);
  if (udp->length.host() < sizeof(UdpHeader) || udp->length.host() > l4_length)
    return unroutable(DropReason::L4Header);
  packet.kind = PacketKind::Udp;
  ports = {udp->source_port, udp->destination_port};
  return packet;
}

enum class IcmpClass { Request, Reply, Error, Unknown };

constexpr IcmpClass class_of(IcmpType type) {
  switch (type) {
    case IcmpType::EchoRequest:
    case IcmpType::TimestampRequest:
      return IcmpClass::Request;
    case IcmpType::EchoReply:
    case IcmpType::TimestampReply:
      return IcmpClass::Reply;
    case IcmpType::DestinationUnreachable:
    case IcmpType::SourceQuench:
    case IcmpType::Redirect:
    case IcmpType::TimeExceeded:
    case IcmpType::ParameterProblem:
      return IcmpClass::Error;
  }
  return IcmpClass::Unknown;
}

constexpr PacketKind kind_of(IcmpClass icmp_class) {
  if (icmp_class == IcmpClass::Error) return PacketKind::IcmpError;
  return icmp_class == IcmpClass::Request ? PacketKind::IcmpRequest : PacketKind::IcmpReply;
}

// RFC 5508 REQ-1: a query is known by its identifier, which stands where the local port would.
template <Direction direction>
ParsedPacket parse_icmp(const Frame& frame, ParsedPacket packet, std::size_t l4_length, Ports& ports) {
  const auto* icmp = view<IcmpHeader>(frame.head, packet.l4_offset);
  if (l4_length < sizeof(IcmpHeader) || icmp == nullptr)
    return cut_short(frame, packet.l4_offset + sizeof(IcmpHeader), DropReason::L4Header);
  const IcmpClass icmp_class = class_of(icmp->type);
  if (icmp_class == IcmpClass::Unknown) return unroutable(DropReason::IcmpType);
  packet.kind = kind_of(icmp_class);
  // Requests go out and replies come in. The other way round nothing may be found, nor by the outer header of
  // an error: sessions have port 0.
  constexpr auto usual = direction == Direction::Outbound ? PacketKind::IcmpRequest : PacketKind::IcmpReply;
  const bool is_usual_way = packet.kind == usual;
  const L4Port remote_port = is_usual_way ? L4Port{} : L4Port::from_host(0xffff);
  ports = direction == Direction::Outbound ? Ports{icmp->identifier, remote_port}
                                           : Ports{remote_port, icmp->identifier};
  return packet;
}

// RFC 791 section 3.1. Source routes could lead a packet past what is decided here; all other options are
// kept.
[[gnu::cold]] bool are_acceptable(std::span<const std::byte> options) {
  constexpr std::byte end_of_list{0}, no_operation{1}, loose_source_route{131}, strict_source_route{137};
  while (!options.empty() && options[0] != end_of_list) {
    std::size_t length = 1;
    if (options[0] != no_operation) {
      if (options.size() < 2) return false;
      length = static_cast<std::size_t>(options[1]);
      if (length < 2 || length > options.size()) return false;
    }
    if (options[0] == loose_source_route || options[0] == strict_source_route) return false;
    options = options.subspan(length);
  }
  return true;
}

template <Direction direction>
ParsedPacket parse_ipv4(const Frame& frame, FlowKey& key) {
  const auto* ip = view<Ipv4Header>(frame.head, kIpOffset);
  if (ip == nullptr) return cut_short(frame, kIpOffset + sizeof(Ipv4Header), DropReason::IpHeader);
  const std::size_t header_length = ip->header_length();
  const std::size_t total_length = ip->total_length.host();
  const bool is_plain = ip->version_ihl == 0x45;  // nearly always; one compare says all of the next line
  if (!is_plain && (ip->version() != 4 || header_length < sizeof(Ipv4Header)))
    return unroutable(DropReason::IpHeader);
  if (total_length < header_length || total_length > frame.length - kIpOffset)
    return unroutable(DropReason::IpHeader);
  if (frame.head.size() < kIpOffset + header_length) return unroutable(DropReason::HeadersSplit);
  if (!has_good_checksum(frame, header_length)) return unroutable(DropReason::IpChecksum);  // RFC 1812 5.2.2
  if (!is_plain && !are_acceptable(frame.head.subspan(kIpOffset, header_length).subspan(sizeof(Ipv4Header))))
    return unroutable(DropReason::IpOptions);
  if (ip->is_fragment()) return unroutable(DropReason::Fragment);

  ParsedPacket packet{.kind = PacketKind::Other,
                      .l4_offset = static_cast<std::uint8_t>(kIpOffset + header_length),
                      .total_length = static_cast<std::uint16_t>(total_length)};
  const std::size_t l4_length = total_length - header_length;
  Ports ports;
  switch (ip->protocol()) {
    case net::Protocol::Tcp:
      packet = parse_tcp(frame, packet, l4_length, ports);
      break;
    case net::Protocol::Udp:
      packet = parse_udp(frame, packet, l4_length, ports);
      break;
    case net::Protocol::Icmp:
      packet = parse_icmp<direction>(frame, packet, l4_length, ports);
      break;
  }
  const Endpoint source{ip->source, ports.source};
  const Endpoint destination{ip->destination, ports.destination};
  key = direction == Direction::Outbound ? FlowKey::of(source, destination, ip->protocol())
                                         : FlowKey::of(destination, source, ip->protocol());
  return packet;
}

ParsedPacket parse_arp(const Frame& frame) {
  const auto* arp = view<net::ArpPacket>(frame.head, sizeof(EthernetHeader));
  if (arp == nullptr)
    return cut_short(frame, sizeof(EthernetHeader) + sizeof(net::ArpPacket), DropReason::ArpMalformed);
  if (!arp->is_ethernet_ipv4()) return unroutable(DropReason::ArpMalformed);
  return {.kind = PacketKind::Arp};
}

template <Direction direction>
ParsedPacket parse_frame(const rte_mbuf* mbuf, FlowKey& key) {
  const Frame frame{{rte_pktmbuf_mtod(mbuf, const std::byte*), mbuf->data_len}, mbuf->pkt_len};
  const auto* ethernet = view<EthernetHeader>(frame.head);
  if (ethernet == nullptr) return unroutable(DropReason::Runt);
  // A kernel interface hands the tag over beside the frame instead of within it.
  if ((mbuf->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0) return unroutable(DropReason::VlanTagged);
  switch (ethernet->ether_type()) {
    case net::EtherType::Ipv4:
      return parse_ipv4<direction>(frame, key);
    case net::EtherType::Arp:
      return parse_arp(frame);
    case net::EtherType::Vlan:
    case net::EtherType::QinQ:
      return unroutable(DropReason::VlanTagged);
    default:
      return unroutable(DropReason::EtherType);
  }
}

}  // namespace

template <Direction direction>
void parse(Burst& burst) {
  for (unsigned i = 0; i < burst.count; ++i)
    burst.packets[i] = parse_frame<direction>(burst.frames[i], burst.keys[i]);
}

template void parse<Direction::Outbound>(Burst&);
template void parse<Direction::Inbound>(Burst&);

}  // namespace vmnat::dataplane
