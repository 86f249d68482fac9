// SPDX-License-Identifier: Apache-2.0
#include "tests/support/packet_builder.h"

#include <algorithm>
#include <cstring>

namespace vmnat::test {
namespace {

// Straight from RFC 1071, word by word in network order; shares nothing with the code under test.
std::uint16_t reference_checksum(const Bytes& bytes, std::size_t from, std::size_t to,
                                 std::uint32_t sum = 0) {
  for (std::size_t i = from; i < to; i += 2) {
    sum += static_cast<std::uint32_t>(bytes[i]) << 8;
    if (i + 1 < to) sum += static_cast<std::uint32_t>(bytes[i + 1]);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

void put16(Bytes& bytes, std::size_t at, std::uint16_t value) {
  bytes[at] = static_cast<std::byte>(value >> 8);
  bytes[at + 1] = static_cast<std::byte>(value & 0xff);
}
std::uint16_t get16(const Bytes& bytes, std::size_t at) {
  return static_cast<std::uint16_t>(static_cast<unsigned>(bytes[at]) << 8 |
                                    static_cast<unsigned>(bytes[at + 1]));
}

struct Layout {
  std::size_t l4;
  std::size_t end;
  std::uint8_t protocol;
};
Layout layout_of(const Bytes& frame) {
  return {net::kIpOffset + (static_cast<std::size_t>(frame[net::kIpOffset]) & 15) * 4,
          net::kIpOffset + get16(frame, net::kIpOffset + 2),
          static_cast<std::uint8_t>(frame[net::kIpOffset + 9])};
}

std::uint32_t pseudo_sum(const Bytes& frame, const Layout& layout) {
  std::uint32_t sum = layout.protocol + static_cast<std::uint32_t>(layout.end - layout.l4);
  for (std::size_t at = net::kIpOffset + 12; at < net::kIpOffset + 20; at += 2) sum += get16(frame, at);
  return sum;
}

// Offset of the checksum field from the start of the transport header; 0: none.
std::size_t checksum_offset(std::uint8_t protocol) {
  switch (protocol) {
    case 1:
      return 2;
    case 6:
      return 16;
    case 17:
      return 6;
    default:
      return 0;
  }
}

std::uint16_t l4_sum(const Bytes& frame, const Layout& layout) {
  return reference_checksum(frame, layout.l4, layout.end,
                            layout.protocol == 1 ? 0 : pseudo_sum(frame, layout));
}

template <typename T>
void append(Bytes& bytes, const T& value) {
  bytes.resize(bytes.size() + sizeof value);
  std::memcpy(bytes.data() + bytes.size() - sizeof value, &value, sizeof value);
}

net::Endpoint endpoint(std::string_view address, std::uint16_t port) {
  return {net::parse_ipv4(address).value(), net::L4Port::from_host(port)};
}

}  // namespace

Bytes as_bytes(const std::vector<unsigned>& numbers) {
  Bytes bytes;
  for (const unsigned number : numbers) bytes.push_back(static_cast<std::byte>(number));
  return bytes;
}

Packet& Packet::from(net::MacAddr mac, std::string_view address, std::uint16_t port) {
  source_mac_ = mac;
  source_ = endpoint(address, port);
  return *this;
}
Packet& Packet::to(net::MacAddr mac, std::string_view address, std::uint16_t port) {
  destination_mac_ = mac;
  destination_ = endpoint(address, port);
  return *this;
}
Packet& Packet::tcp(std::uint8_t flags) {
  protocol_ = 6;
  tcp_flags_ = flags;
  return *this;
}
Packet& Packet::sequence(std::uint32_t number) {
  sequence_ = number;
  return *this;
}
Packet& Packet::acknowledgment(std::uint32_t number) {
  acknowledgment_ = number;
  return *this;
}
Packet& Packet::window(std::uint16_t bytes) {
  window_ = bytes;
  return *this;
}
Packet& Packet::tcp_options(const std::vector<unsigned>& bytes) {
  tcp_options_ = as_bytes(bytes);
  return *this;
}
Packet& Packet::udp() {
  protocol_ = 17;
  return *this;
}
Packet& Packet::icmp_echo(net::IcmpType type, std::uint16_t identifier) {
  protocol_ = 1;
  icmp_type_ = type;
  source_.port = net::L4Port::from_host(identifier);
  return *this;
}
Packet& Packet::icmp_error(net::IcmpType type, std::uint8_t code, const Bytes& quote) {
  protocol_ = 1;
  icmp_type_ = type;
  icmp_code_ = code;
  quote_ = quote;
  payload_.clear();
  return *this;
}
Packet& Packet::protocol(std::uint8_t number) {
  protocol_ = number;
  return *this;
}
Packet& Packet::ttl(std::uint8_t ttl) {
  ttl_ = ttl;
  return *this;
}
Packet& Packet::tos(std::uint8_t tos) {
  tos_ = tos;
  return *this;
}
Packet& Packet::identification(std::uint16_t number) {
  identification_ = number;
  return *this;
}
Packet& Packet::payload(std::size_t bytes) {
  payload_.resize(bytes);
  for (std::size_t i = 0; i < bytes; ++i) payload_[i] = static_cast<std::byte>(i * 7);
  return *this;
}
Packet& Packet::payload(const Bytes& content) {
  payload_ = content;
  return *this;
}
Packet& Packet::options(std::size_t words) {
  options_.assign(4 * words, std::byte{1});
  return *this;
}
Packet& Packet::options(const std::vector<unsigned>& bytes) {
  options_ = as_bytes(bytes);
  return *this;
}
Packet& Packet::fragment(std::uint16_t raw_flags_and_offset) {
  fragment_ = raw_flags_and_offset;
  return *this;
}
Packet& Packet::without_udp_checksum() {
  udp_checksum_ = false;
  return *this;
}

Bytes Packet::l4() const {
  Bytes bytes;
  switch (protocol_) {
    case 1:
      append(bytes, net::IcmpHeader{.type = icmp_type_,
                                    .code = icmp_code_,
                                    .identifier = source_.port,
                                    .sequence = net::Be16::from_host(1)});
      break;
    case 6:
      append(bytes,
             net::TcpHeader{.source_port = source_.port,
                            .destination_port = destination_.port,
                            .sequence = net::Be32::from_host(sequence_),
                            .acknowledgment = net::Be32::from_host(acknowledgment_),
                            .data_offset = static_cast<std::uint8_t>((5 + tcp_options_.size() / 4) << 4),
                            .flags = tcp_flags_,
                            .window = net::Be16::from_host(window_)});
      for (const std::byte option : tcp_options_) bytes.push_back(option);
      break;
    case 17:
      append(bytes,
             net::UdpHeader{.source_port = source_.port,
                            .destination_port = destination_.port,
                            .length = net::Be16::from_host(static_cast<std::uint16_t>(8 + payload_.size()))});
      break;
    default:
      break;
  }
  bytes.insert(bytes.end(), quote_.begin(), quote_.end());
  for (const std::byte byte : payload_) bytes.push_back(byte);
  return bytes;
}

Bytes Packet::frame() const {
  const Bytes transport = l4();
  Bytes frame;
  append(frame, net::EthernetHeader{destination_mac_, source_mac_, net::Be16::from_host(0x0800)});
  append(frame, net::Ipv4Header{.version_ihl = static_cast<std::uint8_t>(0x45 + options_.size() / 4),
                                .tos = tos_,
                                .total_length = net::Be16::from_host(
                                    static_cast<std::uint16_t>(20 + options_.size() + transport.size())),
                                .identification = net::Be16::from_host(identification_),
                                .fragment = net::Be16::from_host(fragment_),
                                .ttl = ttl_,
                                .protocol_number = protocol_,
                                .source = source_.address,
                                .destination = destination_.address});
  for (const std::byte option : options_) frame.push_back(option);
  for (const std::byte byte : transport) frame.push_back(byte);
  const Layout layout = layout_of(frame);
  put16(frame, net::kIpOffset + 10, reference_checksum(frame, net::kIpOffset, layout.l4));
  const std::size_t at = checksum_offset(protocol_);
  if (at != 0 && (protocol_ != 17 || udp_checksum_)) {
    const std::uint16_t sum = l4_sum(frame, layout);
    put16(frame, layout.l4 + at, sum == 0 && protocol_ == 17 ? 0xffff : sum);
  }
  return frame;
}

Bytes Packet::frame(const std::function<void(Bytes&)>& change) const {
  Bytes bytes = frame();
  change(bytes);
  return bytes;
}

Bytes arp(net::ArpOperation operation, net::MacAddr sender_mac, std::string_view sender,
          net::MacAddr target_mac, std::string_view target, net::MacAddr destination) {
  Bytes frame;
  append(frame, net::EthernetHeader{destination, sender_mac, net::Be16::from_host(0x0806)});
  append(frame, net::ArpPacket{.hardware_type = net::Be16::from_host(1),
                               .protocol_type = net::Be16::from_host(0x0800),
                               .hardware_length = 6,
                               .protocol_length = 4,
                               .operation = net::Be16::from_host(static_cast<std::uint16_t>(operation)),
                               .sender_mac = sender_mac,
                               .sender_address = net::parse_ipv4(sender).value(),
                               .target_mac = target_mac,
                               .target_address = net::parse_ipv4(target).value()});
  return frame;
}

Bytes quoted(const Bytes& frame, std::size_t l4_bytes) {
  const Layout layout = layout_of(frame);
  const auto at = [&](std::size_t offset) { return frame.begin() + static_cast<std::ptrdiff_t>(offset); };
  return {at(net::kIpOffset), at(std::min(layout.l4 + l4_bytes, layout.end))};
}

Bytes quote_in(const Bytes& frame) {
  const Layout layout = layout_of(frame);
  const auto at = [&](std::size_t offset) { return frame.begin() + static_cast<std::ptrdiff_t>(offset); };
  return {at(layout.l4 + sizeof(net::IcmpHeader)), at(layout.end)};
}

bool has_good_checksums(const Bytes& frame) {
  const Layout layout = layout_of(frame);
  if (reference_checksum(frame, net::kIpOffset, layout.l4) != 0) return false;
  if (checksum_offset(layout.protocol) == 0) return true;
  if (layout.protocol == 17 && get16(frame, layout.l4 + 6) == 0) return true;
  return l4_sum(frame, layout) == 0;
}

bool has_good_ip_checksum(const Bytes& frame) {
  return reference_checksum(frame, net::kIpOffset, layout_of(frame).l4) == 0;
}

void mend_ip_checksum(Bytes& frame) {
  put16(frame, net::kIpOffset + 10, 0);
  put16(frame, net::kIpOffset + 10, reference_checksum(frame, net::kIpOffset, layout_of(frame).l4));
}

net::Endpoint source_of(const Bytes& frame) {
  const Layout layout = layout_of(frame);
  const std::size_t port = layout.protocol == 1 ? layout.l4 + 4 : layout.l4;
  return {net::view<net::Ipv4Header>(frame, net::kIpOffset)->source,
          net::L4Port::from_host(get16(frame, port))};
}

net::Endpoint destination_of(const Bytes& frame) {
  const Layout layout = layout_of(frame);
  const std::size_t port = layout.protocol == 1 ? layout.l4 + 4 : layout.l4 + 2;
  return {net::view<net::Ipv4Header>(frame, net::kIpOffset)->destination,
          net::L4Port::from_host(get16(frame, port))};
}

std::string describe(const Bytes& frame) {
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  if (ethernet == nullptr) return "runt of " + std::to_string(frame.size()) + " bytes";
  if (ethernet->ether_type() != net::EtherType::Ipv4 || frame.size() < 42)
    return "type " + std::to_string(ethernet->type.host()) + " from " + net::to_string(ethernet->source);
  return net::to_string(source_of(frame)) + " > " + net::to_string(destination_of(frame)) + " protocol " +
         std::to_string(layout_of(frame).protocol) + " ttl " +
         std::to_string(static_cast<unsigned>(frame[net::kIpOffset + 8]));
}

}  // namespace vmnat::test
