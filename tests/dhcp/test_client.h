// SPDX-License-Identifier: Apache-2.0
// A DHCP client for tests: sends requests of all kinds to a server, and reads what it answers.
//
//   TestClient vm{server, "vm1", mac("52:54:00:00:00:01")};
//   const Reply offer = vm.ask(vm.discover()).value();
//   EXPECT_EQ(offer.yiaddr(), ...);
#pragma once

#include <cstdlib>
#include <gtest/gtest.h>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "dhcp/server.h"
#include "tests/dhcp/request_frame.h"

namespace vmnat::dhcp::test {

// A frame that the server sent, taken apart and with its checksums verified.
struct Reply {
  Frame frame;
  Datagram datagram;
  Message message;

  [[nodiscard]] MessageType type() const { return message.type().value(); }
  [[nodiscard]] net::Ipv4Addr yiaddr() const { return message.header.yiaddr; }
  [[nodiscard]] const OptionSet& options() const { return message.options; }
};

inline std::uint64_t ignored_for(const Server& server, Ignored reason) {
  return server.counters().ignored[static_cast<std::size_t>(reason)];
}

// Frames that the server has answered, concluded or ignored.
inline std::uint64_t frames_done(const Server& server) {
  const Counters& counters = server.counters();
  const auto sum = [](const auto& counts) {
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  };
  return sum(counters.sent) + counters.concluded + sum(counters.ignored);
}

inline std::optional<Reply> read_reply(std::optional<Frame> frame) {
  if (!frame) return std::nullopt;
  Reply reply{std::move(*frame), {}, {}};
  const auto parsed = parse_frame(reply.frame);
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

  [[nodiscard]] RequestFrame message(MessageType type) { return request_of(type, mac_, ++xid_); }
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
    const std::uint64_t done = frames_done(server_);
    auto reply = server_.answer(request.frame(), {.port = port_, .may_relay = may_relay}, now);
    const bool may_wait = !reply && server_.settings().check_before_offer;
    EXPECT_TRUE(frames_done(server_) == done + 1 || (may_wait && frames_done(server_) == done));
    return read_reply(std::move(reply));
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
  bool may_relay = false;

 private:
  Server& server_;
  std::string port_;
  net::MacAddr mac_;
  std::uint32_t xid_ = 0x1000;
};

}  // namespace vmnat::dhcp::test
