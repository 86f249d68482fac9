// SPDX-License-Identifier: Apache-2.0
// Segments and their answers.
#include "bench/generator/tcp_talk.h"

#include <algorithm>

#include "net/checksum.h"

namespace vmnat::bench {
namespace {

using net::kIpOffset;
using net::TcpHeader;

constexpr std::size_t kTcpOffset = kIpOffset + sizeof(net::Ipv4Header);
constexpr std::size_t kIpEnd = kTcpOffset + sizeof(TcpHeader);
constexpr auto kProtocol = static_cast<std::uint8_t>(net::Protocol::Tcp);
constexpr std::uint8_t kSynAck = TcpHeader::kSyn | TcpHeader::kAck;
constexpr std::uint8_t kFinAck = TcpHeader::kFin | TcpHeader::kAck;
static_assert(kIpEnd <= FlowPatch::kOffset + sizeof(FlowPatch) && kIpEnd <= kSmallestFrame - kFcsLength);

Tuple reversed(const Tuple& tuple) {
  return {tuple.destination, tuple.source};
}

// What follows `received` in the other direction: its sequence number is what was acknowledged.
TcpSegment reply(const TcpSegment& received, std::uint8_t flags) {
  const bool counts = (received.flags & (TcpHeader::kSyn | TcpHeader::kFin)) != 0;
  return {.tuple = reversed(received.tuple),
          .sequence = received.acknowledgment,
          .acknowledgment = received.sequence + (counts ? 1 : 0),
          .flags = flags};
}

std::uint64_t tcp_sum(const net::Ipv4Header& ip, std::span<const std::byte> tcp) {
  return net::added_sum(tcp, net::pseudo_header_sum(ip.source, ip.destination, kProtocol, sizeof(TcpHeader)));
}

}  // namespace

TcpSegment first_segment(const Tuple& tuple, FlowNumber flow) {
  return {.tuple = tuple, .sequence = flow << 2, .acknowledgment = 0, .flags = TcpHeader::kSyn};
}

Answer client_answer(const TcpSegment& received) {
  const bool fits = received.acknowledgment == received.sequence + 1;
  if (fits && received.flags == kSynAck && received.phase() == 0)
    return {{reply(received, TcpHeader::kAck), reply(received, kFinAck)}, 2};
  if (fits && received.flags == kFinAck && received.phase() == 1)
    return {{reply(received, TcpHeader::kAck)}, 1};
  return {};
}

Answer server_answer(const TcpSegment& received) {
  if (received.flags == TcpHeader::kSyn && received.phase() == 0) {
    TcpSegment answer = reply(received, kSynAck);
    answer.sequence = received.sequence;  // our initial number is the client's
    return {{answer}, 1};
  }
  const bool fits = received.acknowledgment == received.sequence;
  if (fits && received.flags == kFinAck && received.phase() == 1) return {{reply(received, kFinAck)}, 1};
  if (fits && received.flags == TcpHeader::kAck && received.phase() == 2) return {.is_complete = true};
  return {};
}

TcpTemplate::TcpTemplate(net::MacAddr from, net::MacAddr to) {
  *net::mutable_view<net::EthernetHeader>(bytes_) = {to, from, net::Be16::from_host(0x0800)};
  *net::mutable_view<net::Ipv4Header>(bytes_, kIpOffset) = {
      .version_ihl = 0x45,
      .tos = 0,
      .total_length = net::Be16::from_host(kIpEnd - kIpOffset),
      .ttl = kSentTtl,
      .protocol_number = kProtocol};
  auto& tcp = *net::mutable_view<TcpHeader>(bytes_, kTcpOffset);
  tcp.data_offset = sizeof(TcpHeader) / 4 << 4;
  tcp.window = net::Be16::from_host(0xffff);
  ip_sum_ = net::plain_header_sum(*net::view<net::Ipv4Header>(bytes_, kIpOffset));
  tcp_sum_ = tcp_sum(*net::view<net::Ipv4Header>(bytes_, kIpOffset),
                     std::span(bytes_).subspan(kTcpOffset, sizeof(TcpHeader)));
}

void TcpTemplate::write(const TcpSegment& segment, std::byte* frame) const {
  std::copy(bytes_.begin(), bytes_.end(), frame);
  const std::span bytes{frame, bytes_.size()};
  auto& ip = *net::mutable_view<net::Ipv4Header>(bytes, kIpOffset);
  auto& tcp = *net::mutable_view<TcpHeader>(bytes, kTcpOffset);
  ip.source = segment.tuple.source.address;
  ip.destination = segment.tuple.destination.address;
  const std::uint64_t addresses =
      std::uint64_t{segment.tuple.source.address.raw()} + segment.tuple.destination.address.raw();
  ip.checksum = net::checksum_of(ip_sum_ + addresses);
  tcp.source_port = segment.tuple.source.port;
  tcp.destination_port = segment.tuple.destination.port;
  tcp.sequence = net::Be32::from_host(segment.sequence);
  tcp.acknowledgment = net::Be32::from_host(segment.acknowledgment);
  tcp.flags = segment.flags;
  // From the fields: what has just been written in pieces would have to be waited for to be read.
  tcp.checksum = net::checksum_of(tcp_sum_ + addresses + segment.tuple.source.port.raw() +
                                  segment.tuple.destination.port.raw() + tcp.sequence.raw() +
                                  tcp.acknowledgment.raw() + net::Be16::from_host(segment.flags).raw());
}

std::optional<TcpSegment> read_segment(std::span<const std::byte> frame) {
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  const auto* ip = net::view<net::Ipv4Header>(frame, kIpOffset);
  const auto* tcp = net::view<TcpHeader>(frame, kTcpOffset);
  if (tcp == nullptr || ethernet->ether_type() != net::EtherType::Ipv4 || ip->version_ihl != 0x45 ||
      ip->protocol() != net::Protocol::Tcp || ip->total_length.host() != kIpEnd - kIpOffset)
    return std::nullopt;
  return TcpSegment{.tuple = {{ip->source, tcp->source_port}, {ip->destination, tcp->destination_port}},
                    .sequence = tcp->sequence.host(),
                    .acknowledgment = tcp->acknowledgment.host(),
                    .flags = tcp->flags};
}

Fault checksum_fault_of(std::span<const std::byte> frame) {
  const auto& ip = *net::view<net::Ipv4Header>(frame, kIpOffset);
  if (!net::is_intact(net::plain_header_sum(ip))) return Fault::IpChecksum;
  const bool is_right = net::is_intact(tcp_sum(ip, frame.subspan(kTcpOffset, sizeof(TcpHeader))));
  return is_right ? Fault::None : Fault::TcpChecksum;
}

}  // namespace vmnat::bench
