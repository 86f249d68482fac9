// SPDX-License-Identifier: Apache-2.0
#include "bench/kernel/tcp_source.h"

#include <algorithm>
#include <array>

#include "net/checksum.h"

namespace vmnat::bench {
namespace {

using net::kIpOffset;

constexpr std::size_t kTcpOffset = kIpOffset + sizeof(net::Ipv4Header);
// RFC 9293 3.1 and RFC 7323 2.2: the largest segment, 1460; no operation; window scale 7.
constexpr std::array<std::uint8_t, 8> kSynOptions = {2, 4, 0x05, 0xb4, 1, 3, 3, 7};
constexpr std::uint8_t kWindowScale = 3;
constexpr unsigned kLossSign = 3;  // equal acknowledgments (RFC 5681 3.2)

bool is_before(std::uint32_t one, std::uint32_t other) {
  return static_cast<std::int32_t>(one - other) < 0;
}

// The value of a one-byte option, 0 without it.
unsigned option_in(std::span<const std::byte> options, std::uint8_t kind) {
  while (options.size() > 2 && options[0] != std::byte{0}) {
    const std::size_t length = options[0] == std::byte{1} ? 1 : std::to_integer<std::size_t>(options[1]);
    if (length == 0 || length > options.size()) return 0;
    if (options[0] == std::byte{kind}) return std::to_integer<unsigned>(options[2]);
    options = options.subspan(length);
  }
  return 0;
}

}  // namespace

void TcpSource::write(std::span<std::byte> frame, std::uint8_t flags, std::size_t payload) const {
  const std::size_t tcp_length = frame.size() - kTcpOffset;
  const auto ip_length = static_cast<std::uint16_t>(frame.size() + payload - kIpOffset);
  *net::mutable_view<net::EthernetHeader>(frame) = {gateway_, own_, net::Be16::from_host(0x0800)};
  auto& ip = *net::mutable_view<net::Ipv4Header>(frame, kIpOffset);
  ip = {.version_ihl = 0x45,
        .total_length = net::Be16::from_host(ip_length),
        .fragment = net::Be16::from_host(0x4000),
        .ttl = net::kInitialTtl,
        .protocol_number = static_cast<std::uint8_t>(net::Protocol::Tcp),
        .source = tuple_.source.address,
        .destination = tuple_.destination.address};
  net::write_checksum(ip);
  auto& tcp = *net::mutable_view<net::TcpHeader>(frame, kTcpOffset);
  tcp = {.source_port = tuple_.source.port,
         .destination_port = tuple_.destination.port,
         .sequence = net::Be32::from_host(next_),
         .acknowledgment = net::Be32::from_host(others_next_),
         .data_offset = static_cast<std::uint8_t>(tcp_length / 4 << 4),
         .flags = flags,
         .window = net::Be16::from_host(0xffff)};
  if (payload > 0) return;
  tcp.checksum = net::checksum_of(net::added_sum(
      frame.subspan(kTcpOffset), net::pseudo_header_sum(ip.source, ip.destination, ip.protocol_number,
                                                        static_cast<std::uint16_t>(tcp_length))));
}

void TcpSource::write_syn(std::span<std::byte> frame) const {
  std::ranges::copy(std::as_bytes(std::span{kSynOptions}), frame.subspan(kHeaders).begin());
  write(frame, net::TcpHeader::kSyn, 0);
}

void TcpSource::write_ack(std::span<std::byte> frame) const {
  write(frame, net::TcpHeader::kAck, 0);
}

void TcpSource::write_next(std::span<std::byte> frame) {
  write(frame, net::TcpHeader::kAck, kPayload);
  next_ += kPayload;
}

void TcpSource::receive(std::span<const std::byte> frame) {
  const auto* ip = net::view<net::Ipv4Header>(frame, kIpOffset);
  const auto* tcp = net::view<net::TcpHeader>(frame, kTcpOffset);
  if (tcp == nullptr || ip->version_ihl != 0x45 || ip->protocol() != net::Protocol::Tcp ||
      Tuple{{ip->destination, tcp->destination_port}, {ip->source, tcp->source_port}} != tuple_)
    return;
  if ((tcp->flags & net::TcpHeader::kSyn) != 0) return open(frame.subspan(kHeaders), *tcp);
  window_ = std::uint32_t{tcp->window.host()} << window_shift_;
  take_acknowledgment(tcp->acknowledgment.host());
}

void TcpSource::open(std::span<const std::byte> options, const net::TcpHeader& tcp) {
  if (is_open_) return;
  window_shift_ = option_in(options, kWindowScale);
  window_ = tcp.window.host();
  others_next_ = tcp.sequence.host() + 1;
  acknowledged_ = next_ = lost_before_ = 1;
  is_open_ = true;
}

void TcpSource::take_acknowledgment(std::uint32_t number) {
  if (number == acknowledged_) {
    if (++equal_acknowledgments_ == kLossSign && !is_before(number, lost_before_)) go_back();
    return;
  }
  if (is_before(number, acknowledged_)) return;
  const std::uint32_t step = number - acknowledged_;
  const bool is_slow_start = congestion_ < threshold_;
  congestion_ +=
      is_slow_start ? step : static_cast<std::uint32_t>(std::uint64_t{kPayload} * step / congestion_);
  congestion_ = std::min(congestion_, std::uint32_t{1} << 24);
  acknowledged_ = number;
  if (is_before(next_, acknowledged_)) next_ = acknowledged_;
  equal_acknowledgments_ = 0;
}

void TcpSource::go_back() {
  ++losses_;
  threshold_ = congestion_ = std::max(congestion_ / 2, 2 * kPayload);
  lost_before_ = next_;
  next_ = acknowledged_;
  equal_acknowledgments_ = 0;
}

}  // namespace vmnat::bench
