// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/parse.h"

#include <span>
#include <utility>

#include "conntrack/policy.h"
#include "conntrack/query_port.h"
#include "dataplane/pipeline/priority_tag.h"
#include "net/checksum.h"

namespace vmnat::dataplane {
namespace {

using net::Endpoint;
using net::EthernetHeader;
using net::IcmpHeader;
using net::IcmpType;
using net::Ipv4Header;
using net::kIpOffset;
using net::L4Port;
using net::TcpHeader;
using net::UdpHeader;
using net::view;

struct Ports {
  L4Port source;
  L4Port destination;
};

// A frame under examination: what lies in its first segment, and how long it is as a whole. Handed on in registers.
struct Frame {
  const std::byte* start;
  std::uint32_t head_length;
  std::uint32_t length;
  [[nodiscard]] std::span<const std::byte> head() const { return {start, head_length}; }
};

// The parsers below fill in the packet field by field where it lies, and answer whether it can be routed: a
// small structure that is passed about costs more than all the checks.
bool unroutable(ParsedPacket& packet, DropReason fault) {
  packet.kind = PacketKind::Unroutable;
  packet.fault = fault;
  return false;
}

// Headers that should be there by the lengths but are not in the first segment are split, not cut.
[[gnu::cold]] bool cut_short(Frame frame, std::size_t needed, DropReason fault, ParsedPacket& packet) {
  const bool is_split = frame.length >= needed && frame.head_length < needed;
  return unroutable(packet, is_split ? DropReason::HeadersSplit : fault);
}

[[gnu::cold]] bool has_good_long_checksum(Frame frame, const Ipv4Header& ip) {
  return net::is_intact(net::added_sum(frame.head().subspan(kIpOffset, ip.header_length())));
}

bool parse_tcp(Frame frame, std::size_t at, std::size_t l4_length, ParsedPacket& packet, Ports& ports) {
  const auto* tcp = view<TcpHeader>(frame.head(), at);
  if (l4_length < sizeof(TcpHeader) || tcp == nullptr)
    return cut_short(frame, at + sizeof(TcpHeader), DropReason::L4Header, packet);
  if (tcp->header_length() < sizeof(TcpHeader) || tcp->header_length() > l4_length)
    return unroutable(packet, DropReason::L4Header);
  packet.kind = PacketKind::Tcp;
  packet.tcp_flags = tcp->flags;
  ports = {tcp->source_port, tcp->destination_port};
  return true;
}

enum class Extent { Whole, FirstFragment };

// A first fragment has less of the datagram than its UDP length says.
template <Extent extent>
bool parse_udp(Frame frame, std::size_t at, std::size_t l4_length, ParsedPacket& packet, Ports& ports) {
  const std::size_t longest = extent == Extent::Whole ? l4_length : 0xffff;
  const auto* udp = view<UdpHeader>(frame.head(), at);
  if (l4_length < sizeof(UdpHeader) || udp == nullptr)
    return cut_short(frame, at + sizeof(UdpHeader), DropReason::L4Header, packet);
  if (udp->length.host() < sizeof(UdpHeader) || udp->length.host() > longest)
    return unroutable(packet, DropReason::L4Header);
  packet.kind = PacketKind::Udp;
  ports = {udp->source_port, udp->destination_port};
  return true;
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
[[gnu::noinline]] bool parse_icmp(Frame frame, std::size_t at, std::size_t l4_length, ParsedPacket& packet,
                                  Ports& ports) {
  const auto* icmp = view<IcmpHeader>(frame.head(), at);
  if (l4_length < sizeof(IcmpHeader) || icmp == nullptr)
    return cut_short(frame, at + sizeof(IcmpHeader), DropReason::L4Header, packet);
  const IcmpClass icmp_class = class_of(icmp->type);
  if (icmp_class == IcmpClass::Unknown) return unroutable(packet, DropReason::IcmpType);
  packet.kind = kind_of(icmp_class);
  // Where the inside asks, requests go out and replies come in.
  constexpr auto usual = direction == Direction::Outbound ? PacketKind::IcmpRequest : PacketKind::IcmpReply;
  const bool is_usual_way = packet.kind == usual;
  const L4Port remote_port = is_usual_way ? conntrack::kInsideAsks : conntrack::kRemoteAsks;
  ports = direction == Direction::Outbound ? Ports{icmp->identifier, remote_port}
                                           : Ports{remote_port, icmp->identifier};
  return true;
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

template <Direction direction, Extent extent>
bool parse_l4(Frame frame, const Ipv4Header& ip, std::size_t header_length, ParsedPacket& packet,
              Ports& ports) {
  const std::size_t at = kIpOffset + header_length;
  const std::size_t length = packet.total_length - header_length;
  switch (ip.protocol()) {
    case net::Protocol::Tcp:
      return parse_tcp(frame, at, length, packet, ports);
    case net::Protocol::Udp:
      return parse_udp<extent>(frame, at, length, packet, ports);
    case net::Protocol::Icmp:
      return parse_icmp<direction>(frame, at, length, packet, ports);
    default:
      packet.kind = PacketKind::Other;
      return true;
  }
}

// What follows the IPv4 header, which has been checked.
template <Direction direction, Extent extent>
bool parse_transport(Frame frame, const Ipv4Header& ip, std::size_t header_length, ParsedPacket& packet,
                     FlowKey& key) {
  packet.l4_offset = static_cast<std::uint8_t>(kIpOffset + header_length);
  packet.total_length = ip.total_length.host();
  Ports ports;
  if (!parse_l4<direction, extent>(frame, ip, header_length, packet, ports)) return false;
  const Endpoint source{ip.source, ports.source};
  const Endpoint destination{ip.destination, ports.destination};
  key = direction == Direction::Outbound ? FlowKey::of(source, destination, ip.protocol())
                                         : FlowKey::of(destination, source, ip.protocol());
  return true;
}

template <Direction direction>
bool parse_ipv4(Frame frame, Burst& burst, unsigned i) {
  ParsedPacket& packet = burst.packets[i];
  const auto* ip = view<Ipv4Header>(frame.head(), kIpOffset);
  if (ip == nullptr) return cut_short(frame, kIpOffset + sizeof(Ipv4Header), DropReason::IpHeader, packet);
  const bool is_plain = ip->version_ihl == 0x45;  // nearly always
  const std::size_t header_length = is_plain ? sizeof(Ipv4Header) : ip->header_length();
  const std::size_t total_length = ip->total_length.host();
  if (!is_plain && (ip->version() != 4 || header_length < sizeof(Ipv4Header)))
    return unroutable(packet, DropReason::IpHeader);
  if (total_length < header_length || total_length > frame.length - kIpOffset)
    return unroutable(packet, DropReason::IpHeader);
  if (frame.head_length < kIpOffset + header_length) return unroutable(packet, DropReason::HeadersSplit);
  // RFC 1812 5.2.2
  if (is_plain ? !net::is_intact(net::plain_header_sum(*ip)) : !has_good_long_checksum(frame, *ip))
    return unroutable(packet, DropReason::IpChecksum);
  if (!is_plain &&
      !are_acceptable(frame.head().subspan(kIpOffset, header_length).subspan(sizeof(Ipv4Header))))
    return unroutable(packet, DropReason::IpOptions);
  // Without ports the address says all, of a fragment, too.
  if (ip->is_fragment() && conntrack::port_space(ip->protocol()) != conntrack::PortSpace::None) {
    packet.kind = PacketKind::Fragment;
    burst.has_fragments = true;
    return true;
  }
  return parse_transport<direction, Extent::Whole>(frame, *ip, header_length, packet, burst.keys[i]);
}

bool parse_arp(Frame frame, ParsedPacket& packet) {
  const auto* arp = view<net::ArpPacket>(frame.head(), sizeof(EthernetHeader));
  if (arp == nullptr)
    return cut_short(frame, sizeof(EthernetHeader) + sizeof(net::ArpPacket), DropReason::ArpMalformed,
                     packet);
  if (!arp->is_ethernet_ipv4()) return unroutable(packet, DropReason::ArpMalformed);
  packet.kind = PacketKind::Arp;
  return true;
}

Frame frame_in(const rte_mbuf* mbuf) {
  return {rte_pktmbuf_mtod(mbuf, const std::byte*), mbuf->data_len, mbuf->pkt_len};
}

template <Direction direction>
bool parse_frame(Burst& burst, unsigned i) {
  const rte_mbuf* mbuf = burst.frames[i];
  ParsedPacket& packet = burst.packets[i] = {};
  const Frame frame = frame_in(mbuf);
  const auto* ethernet = view<EthernetHeader>(frame.head());
  if (ethernet == nullptr) return unroutable(packet, DropReason::Runt);
  // A kernel interface hands the tag over beside the frame instead of within it.
  if ((mbuf->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0) return unroutable(packet, DropReason::VlanTagged);
  switch (ethernet->ether_type()) {
    case net::EtherType::Ipv4:
      return parse_ipv4<direction>(frame, burst, i);
    case net::EtherType::Arp:
      return parse_arp(frame, packet);
    case net::EtherType::Vlan:
    case net::EtherType::QinQ:
      return unroutable(packet, DropReason::VlanTagged);
    default:
      return unroutable(packet, DropReason::EtherType);
  }
}

// The frame is to be read again: it has lost tags that say nothing.
[[gnu::cold, gnu::noinline]] bool is_bare_now(Burst& burst, unsigned i) {
  return burst.packets[i].fault == DropReason::VlanTagged && remove_priority_tags(burst.frames[i]);
}

}  // namespace

// parse_frame is called at one place alone: that is what makes the compiler put it here as a whole.
template <Direction direction>
void parse(Burst& burst) {
  burst.has_fragments = false;
  burst.has_oversize = false;
  for (unsigned i = 0; i < burst.count; ++i) {
    bool is_first_reading = true;
    while (!parse_frame<direction>(burst, i) && std::exchange(is_first_reading, false) &&
           is_bare_now(burst, i)) {
    }
  }
}

template <Direction direction>
void parse_first_fragment(Burst& burst, unsigned i) {
  const Ipv4Header& ip = ipv4_of(burst.frames[i]);
  burst.packets[i] = {};
  parse_transport<direction, Extent::FirstFragment>(frame_in(burst.frames[i]), ip, ip.header_length(),
                                                    burst.packets[i], burst.keys[i]);
}

template void parse<Direction::Outbound>(Burst&);
template void parse<Direction::Inbound>(Burst&);
template void parse_first_fragment<Direction::Outbound>(Burst&, unsigned);
template void parse_first_fragment<Direction::Inbound>(Burst&, unsigned);

}  // namespace vmnat::dataplane
