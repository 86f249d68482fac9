// SPDX-License-Identifier: Apache-2.0
// A DHCP client for tests: builds request frames field by field, and reads what the server answers.
//
//   TestClient vm{server, "vm1", mac("52:54:00:00:00:01")};
//   const Reply offer = vm.ask(vm.discover()).value();
//   EXPECT_EQ(offer.yiaddr(), ...);
#pragma once

#include <cstdlib>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "dhcp/server.h"

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
          .domain = "lab.example"};
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

// A frame that the server sent, taken apart and with its checksums verified.
struct Reply {
  Frame frame;
  Datagram datagram;
  Message message;

  [[nodiscard]] MessageType type() const { return message.type().value(); }
  [[nodiscard]] net::Ipv4Addr yiaddr() const { return message.header.yiaddr; }
  [[nodiscard]] const OptionSet& options() const { return message.options; }
};

inline std::optional<Reply> read_reply(std::optional<Frame> frame) {
  if (!frame) return std::nullopt;
  Reply reply{std::move(*frame), {}, {}};
  const auto parsed = parse_frame(reply.frame, ChecksumState::Full);
  EXPECT_TRUE(std::holds_alternative<Datagram>(parsed)) << "reply frame is not valid";
  reply.datagram = std::get<Datagram>(parsed);
  reply.message = parse_message(reply.datagram.payload).value();
  EXPECT_EQ(reply.message.header.op, Op::Reply);
  EXPECT_TRUE(reply.message.type());
  return reply;
}

class TestClient {
 public:
  TestClient(Server& server, std::string port, net::MacAddr address)
      : server_(server), port_(std::move(port)), mac_(address) {}

  [[nodiscard]] RequestFrame message(MessageType type) {
    RequestFrame request{.source_mac = mac_};
    request.header.op = Op::Request;
    request.header.hardware_type = MessageHeader::kEthernet;
    request.header.hardware_length = 6;
    request.header.xid = net::Be32::from_host(++xid_);
    request.header.chaddr = mac_;
    request.header.cookie = net::Be32::from_host(MessageHeader::kMagicCookie);
    request.with(Option::MessageType, Bytes{static_cast<std::byte>(type)});
    return request;
  }
  [[nodiscard]] RequestFrame discover() { return message(MessageType::Discover); }
  [[nodiscard]] RequestFrame selecting(net::Ipv4Addr address) {
    return message(MessageType::Request)
        .with(Option::ServerId, server_.settings().gateway.address)
        .with(Option::RequestedAddress, address);
  }
  [[nodiscard]] RequestFrame init_reboot(net::Ipv4Addr address) {
    return message(MessageType::Request).with(Option::RequestedAddress, address);
  }
  [[nodiscard]] RequestFrame rebinding(net::Ipv4Addr address) {
    RequestFrame request = message(MessageType::Request);
    request.header.ciaddr = address;
    request.source.address = address;
    return request;
  }
  [[nodiscard]] RequestFrame renewing(net::Ipv4Addr address) {
    return rebinding(address).unicast_to(server_.settings().gateway_mac, server_.settings().gateway.address);
  }
  [[nodiscard]] RequestFrame release(net::Ipv4Addr address) {
    RequestFrame request =
        message(MessageType::Release).with(Option::ServerId, server_.settings().gateway.address);
    request.header.ciaddr = address;
    return request.unicast_to(server_.settings().gateway_mac, server_.settings().gateway.address);
  }
  [[nodiscard]] RequestFrame decline(net::Ipv4Addr address) {
    return message(MessageType::Decline)
        .with(Option::ServerId, server_.settings().gateway.address)
        .with(Option::RequestedAddress, address);
  }
  [[nodiscard]] RequestFrame inform(net::Ipv4Addr address) {
    RequestFrame request = message(MessageType::Inform);
    request.header.ciaddr = address;
    request.source.address = address;
    return request;
  }

  std::optional<Reply> ask(const RequestFrame& request) {
    return read_reply(server_.answer(request.frame(), {.port = port_}, now));
  }
  // DISCOVER, OFFER, REQUEST, ACK: the address, or nothing when the server does not play along.
  std::optional<net::Ipv4Addr> acquire() {
    const auto offer = ask(discover());
    if (!offer) return std::nullopt;
    EXPECT_EQ(offer->type(), MessageType::Offer);
    const auto ack = ask(selecting(offer->yiaddr()));
    if (!ack || ack->type() != MessageType::Ack) return std::nullopt;
    EXPECT_EQ(ack->yiaddr(), offer->yiaddr());
    return ack->yiaddr();
  }

  WallTime now = at_second(0);

 private:
  Server& server_;
  std::string port_;
  net::MacAddr mac_;
  std::uint32_t xid_ = 0x1000;
};

}  // namespace vmnat::dhcp::test
