// SPDX-License-Identifier: Apache-2.0
// Requests for tests and fuzzers: built field by field, as clients of all kinds would fill them in.
//
//   Frame frame = request_of(MessageType::Discover, mac_number(1), 7).asking_for({1, 3, 6}).frame();
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dhcp/server.h"
#include "net/wire.h"

namespace vmnat::dhcp::test {

inline net::Ipv4Addr ip(std::string_view text) {
  return net::parse_ipv4(text).value();
}
inline net::MacAddr mac(std::string_view text) {
  return net::parse_mac(text).value();
}
inline net::MacAddr mac_number(unsigned number) {
  return {{0x52, 0x54, 0x00, static_cast<std::uint8_t>(number >> 16), static_cast<std::uint8_t>(number >> 8),
           static_cast<std::uint8_t>(number)}};
}
inline Bytes hex(std::string_view text) {
  Bytes bytes;
  for (std::size_t i = 0; i + 1 < text.size();) {
    if (text[i] == ' ') {
      ++i;
      continue;
    }
    bytes.push_back(
        static_cast<std::byte>(std::strtoul(std::string{text.substr(i, 2)}.c_str(), nullptr, 16)));
    i += 2;
  }
  return bytes;
}
inline WallTime at_second(std::int64_t second) {
  return WallTime{std::chrono::seconds{1'700'000'000 + second}};
}

// The network of most tests: 192.168.122.1/24 with .2 to .254, as libvirt's default one.
inline NetworkSettings default_network() {
  return {.gateway = net::parse_ipv4_prefix("192.168.122.1/24").value(),
          .gateway_mac = mac("52:54:00:00:01:01"),
          .ranges = {{ip("192.168.122.2"), ip("192.168.122.254")}},
          .dns = {ip("9.9.9.9")},
          .domain = "lab.example",
          .limits = {.messages_per_second = 0}};
}

// So that changed bytes are read as well: a checksum of 0 is none (RFC 768).
inline void without_udp_checksum(std::span<std::byte> frame) {
  constexpr std::size_t kUdpOffset = sizeof(net::EthernetHeader) + sizeof(net::Ipv4Header);
  if (auto* udp = net::mutable_view<net::UdpHeader>(frame, kUdpOffset)) udp->checksum = {};
}

struct RawOptionValue {
  Option code;
  Bytes value;
};

// One request, as a client would fill it in; frame() makes the bytes.
struct RequestFrame {
  MessageHeader header{};
  std::vector<RawOptionValue> options;
  net::MacAddr source_mac;
  net::MacAddr destination_mac = net::kBroadcastMac;
  net::Endpoint source{{}, kClientPort};
  net::Endpoint destination{kBroadcastAddress, kServerPort};

  RequestFrame& with(Option code, Bytes value) {
    options.push_back({code, std::move(value)});
    return *this;
  }
  RequestFrame& without(Option code) {
    std::erase_if(options, [&](const RawOptionValue& option) { return option.code == code; });
    return *this;
  }
  RequestFrame& with(Option code, net::Ipv4Addr value) {
    const auto bytes = std::as_bytes(std::span{&value, 1});
    return with(code, Bytes{bytes.begin(), bytes.end()});
  }
  RequestFrame& with(Option code, std::string_view text) {
    const auto bytes = bytes_of(text);
    return with(code, Bytes{bytes.begin(), bytes.end()});
  }
  RequestFrame& asking_for(std::initializer_list<unsigned> codes) {
    Bytes list;
    for (const unsigned code : codes) list.push_back(static_cast<std::byte>(code));
    return with(Option::ParameterRequestList, list);
  }
  RequestFrame& broadcast_flag() {
    header.flags = net::Be16::from_host(MessageHeader::kBroadcastFlag);
    return *this;
  }
  RequestFrame& unicast_to(net::MacAddr to_mac, net::Ipv4Addr to) {
    destination_mac = to_mac;
    destination.address = to;
    source.address = header.ciaddr;
    return *this;
  }
  [[nodiscard]] Bytes payload() const {
    MessageBuilder builder{header, 65000};
    for (const auto& option : options) builder.add(option.code, ByteView{option.value});
    return builder.finished();
  }
  [[nodiscard]] Frame frame() const {
    const Bytes message = payload();
    return framed({source_mac, destination_mac, source, destination, message});
  }
};

// What every request has in common: Ethernet, a transaction, the sender's own MAC, a type.
inline RequestFrame request_of(MessageType type, net::MacAddr client, std::uint32_t xid) {
  RequestFrame request{.source_mac = client};
  request.header.op = Op::Request;
  request.header.hardware_type = MessageHeader::kEthernet;
  request.header.hardware_length = 6;
  request.header.xid = net::Be32::from_host(xid);
  request.header.chaddr = client;
  request.header.cookie = net::Be32::from_host(MessageHeader::kMagicCookie);
  return request.with(Option::MessageType, Bytes{static_cast<std::byte>(type)});
}

}  // namespace vmnat::dhcp::test
