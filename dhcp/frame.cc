// SPDX-License-Identifier: Apache-2.0
// Framing: Ethernet, IPv4 and UDP around a DHCP message. Every length is checked against the one outside of
// it (UDP within IP within the frame) before a byte of it is read.
#include "dhcp/frame.h"

#include <algorithm>

#include "net/checksum.h"
#include "net/wire.h"

namespace vmnat::dhcp {
namespace {

constexpr std::uint16_t kDontFragment = 0x4000;
constexpr auto kUdp = static_cast<std::uint8_t>(net::Protocol::Udp);

// The whole IPv4 datagram in `frame`, padding cut off; empty when there is none.
ByteView ipv4_datagram(ByteView frame) {
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  if (ethernet == nullptr || ethernet->ether_type() != net::EtherType::Ipv4) return {};
  const ByteView packet = frame.subspan(sizeof(net::EthernetHeader));
  const auto* ip = net::view<net::Ipv4Header>(packet);
  if (ip == nullptr || ip->version() != 4) return {};
  const std::size_t total = ip->total_length.host();
  if (ip->header_length() < sizeof(*ip) || total < ip->header_length() || total > packet.size()) return {};
  return packet.first(total);
}

std::uint64_t udp_sum(const net::Ipv4Header& ip, ByteView segment) {
  return net::added_sum(segment, net::pseudo_header_sum(ip.source, ip.destination, kUdp,
                                                        static_cast<std::uint16_t>(segment.size())));
}

}  // namespace

std::variant<Datagram, Ignored> parse_frame(ByteView frame) {
  const ByteView packet = ipv4_datagram(frame);
  if (packet.empty()) return Ignored::MalformedFrame;
  const auto& ip = *net::view<net::Ipv4Header>(packet);
  if (ip.protocol() != net::Protocol::Udp) return Ignored::MalformedFrame;
  if (ip.is_fragment()) return Ignored::Fragment;
  if (!net::is_intact(net::added_sum(packet.first(ip.header_length())))) return Ignored::BadChecksum;

  ByteView segment = packet.subspan(ip.header_length());
  const auto* udp = net::view<net::UdpHeader>(segment);
  if (udp == nullptr || udp->length.host() < sizeof(*udp) || udp->length.host() > segment.size())
    return Ignored::MalformedFrame;
  segment = segment.first(udp->length.host());
  const bool has_sum = udp->checksum.raw() != 0;  // RFC 768
  if (has_sum && !net::is_intact(udp_sum(ip, segment))) return Ignored::BadChecksum;

  const auto& ethernet = *net::view<net::EthernetHeader>(frame);
  return Datagram{ethernet.source,
                  ethernet.destination,
                  {ip.source, udp->source_port},
                  {ip.destination, udp->destination_port},
                  segment.subspan(sizeof(*udp))};
}

Frame framed(const Datagram& datagram) {
  constexpr std::size_t kHeaders =
      sizeof(net::EthernetHeader) + sizeof(net::Ipv4Header) + sizeof(net::UdpHeader);
  const auto udp_length = static_cast<std::uint16_t>(sizeof(net::UdpHeader) + datagram.payload.size());
  Frame frame(kHeaders + datagram.payload.size());
  std::ranges::copy(datagram.payload, frame.begin() + kHeaders);

  const std::span<std::byte> bytes{frame};
  *net::mutable_view<net::EthernetHeader>(bytes) = {
      datagram.destination_mac, datagram.source_mac,
      net::Be16::from_host(static_cast<std::uint16_t>(net::EtherType::Ipv4))};

  const auto packet = bytes.subspan(sizeof(net::EthernetHeader));
  auto& ip = *net::mutable_view<net::Ipv4Header>(packet);
  ip = {.version_ihl = 0x45,
        .total_length = net::Be16::from_host(static_cast<std::uint16_t>(packet.size())),
        .fragment = net::Be16::from_host(kDontFragment),
        .ttl = net::kInitialTtl,
        .protocol_number = kUdp,
        .source = datagram.source.address,
        .destination = datagram.destination.address};
  ip.checksum = net::checksum_of(net::added_sum(packet.first(sizeof(ip))));

  const auto segment = packet.subspan(sizeof(ip));
  auto& udp = *net::mutable_view<net::UdpHeader>(segment);
  udp = {datagram.source.port, datagram.destination.port, net::Be16::from_host(udp_length), {}};
  udp.checksum = net::udp_checksum_of(udp_sum(ip, segment));
  return frame;
}

ReplyTarget reply_target(const MessageHeader& request, net::MacAddr sender, std::optional<MessageType> type,
                         net::Ipv4Addr yiaddr) {
  // RFC 2131 section 4.1: "If the 'giaddr' field in a DHCP message from a client is non-zero, the server
  // sends any return messages to the 'DHCP server' port on the BOOTP relay agent whose address appears in
  // 'giaddr'."
  if (!request.giaddr.is_unspecified()) return {sender, {request.giaddr, kServerPort}};
  // "In all cases, when 'giaddr' is zero, the server broadcasts any DHCPNAK messages to 0xffffffff."
  if (type == MessageType::Nak) return {net::kBroadcastMac, {kBroadcastAddress, kClientPort}};
  // "If the 'giaddr' field is zero and the 'ciaddr' field is nonzero, then the server unicasts DHCPOFFER and
  // DHCPACK messages to the address in 'ciaddr'."
  if (!request.ciaddr.is_unspecified()) return {request.chaddr, {request.ciaddr, kClientPort}};
  // "If 'giaddr' is zero and 'ciaddr' is zero, and the broadcast bit is set, then the server broadcasts."
  if (request.wants_broadcast()) return {net::kBroadcastMac, {kBroadcastAddress, kClientPort}};
  // "If the broadcast bit is not set ... the server unicasts to the client's hardware address and 'yiaddr'."
  return {request.chaddr, {yiaddr, kClientPort}};
}

}  // namespace vmnat::dhcp
