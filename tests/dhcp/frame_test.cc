// SPDX-License-Identifier: Apache-2.0
// Framing: what is accepted as a datagram, what is sent, and where to.
#include "dhcp/frame.h"

#include <functional>
#include <gtest/gtest.h>

#include "net/checksum.h"
#include "net/wire.h"
#include "tests/dhcp/test_client.h"

namespace vmnat::dhcp::test {
namespace {

Frame sample_frame(std::size_t payload_size = 301) {
  const Bytes payload(payload_size, std::byte{0xa5});
  return framed({mac("52:54:00:00:00:01"),
                 net::kBroadcastMac,
                 {ip("0.0.0.0"), kClientPort},
                 {kBroadcastAddress, kServerPort},
                 payload});
}
std::byte& at(Frame& frame, std::size_t index) {
  return frame[index];
}

// Makes the IP checksum right again after a change to the header.
void fix_ip_checksum(Frame& frame) {
  auto packet = std::span{frame}.subspan(14);
  auto& ip_header = *net::mutable_view<net::Ipv4Header>(packet);
  ip_header.checksum = {};
  ip_header.checksum = net::checksum_of(net::added_sum(packet.first(20)));
}

TEST(DhcpFrame, WhatIsFramedIsReadBack) {
  const Frame frame = sample_frame();
  const auto datagram = std::get<Datagram>(parse_frame(frame));
  EXPECT_EQ(datagram.source_mac, mac("52:54:00:00:00:01"));
  EXPECT_EQ(datagram.destination_mac, net::kBroadcastMac);
  EXPECT_EQ(datagram.destination, (net::Endpoint{kBroadcastAddress, kServerPort}));
  EXPECT_EQ(datagram.payload.size(), 301u);
}

TEST(DhcpFrame, FramesThatAreNotOneWholeDatagramAreRefusedWithTheReason) {
  struct Case {
    const char* says;
    std::function<void(Frame&)> change;
    Ignored reason;
  };
  const Case cases[] = {
      {"nothing", [](Frame& f) { f.clear(); }, Ignored::MalformedFrame},
      {"half an Ethernet header", [](Frame& f) { f.resize(13); }, Ignored::MalformedFrame},
      {"ARP", [](Frame& f) { at(f, 13) = std::byte{6}; }, Ignored::MalformedFrame},
      {"half an IP header", [](Frame& f) { f.resize(33); }, Ignored::MalformedFrame},
      {"IPv6 version", [](Frame& f) { at(f, 14) = std::byte{0x65}; }, Ignored::MalformedFrame},
      {"header length 16", [](Frame& f) { at(f, 14) = std::byte{0x44}; }, Ignored::MalformedFrame},
      {"total length beyond the frame", [](Frame& f) { f.pop_back(); }, Ignored::MalformedFrame},
      {"total length below the header",
       [](Frame& f) {
         at(f, 16) = {};
         at(f, 17) = std::byte{19};
       },
       Ignored::MalformedFrame},
      {"header checksum", [](Frame& f) { at(f, 22) = std::byte{1}; }, Ignored::BadChecksum},
      {"TCP", [](Frame& f) { at(f, 23) = std::byte{6}; }, Ignored::MalformedFrame},
      {"first fragment", [](Frame& f) { at(f, 20) = std::byte{0x20}; }, Ignored::Fragment},
      {"later fragment", [](Frame& f) { at(f, 21) = std::byte{1}; }, Ignored::Fragment},
      {"UDP length beyond IP", [](Frame& f) { at(f, 38) = std::byte{0x10}; }, Ignored::MalformedFrame},
      {"UDP length below its header",
       [](Frame& f) {
         at(f, 38) = {};
         at(f, 39) = std::byte{7};
       },
       Ignored::MalformedFrame},
      {"UDP checksum", [](Frame& f) { f.back() ^= std::byte{1}; }, Ignored::BadChecksum},
  };
  for (const Case& c : cases) {
    Frame frame = sample_frame();
    c.change(frame);
    const auto parsed = parse_frame(frame);
    ASSERT_TRUE(std::holds_alternative<Ignored>(parsed)) << c.says;
    EXPECT_EQ(std::get<Ignored>(parsed), c.reason) << c.says;
  }
}

TEST(DhcpFrame, AnIpHeaderThatEndsBehindTheDatagramHidesTheUdpHeader) {
  Frame frame = sample_frame(0);
  at(frame, 14) = std::byte{0x47};  // 28 bytes of header: nothing is left for UDP
  fix_ip_checksum(frame);
  EXPECT_TRUE(std::holds_alternative<Ignored>(parse_frame(frame)));
}

TEST(DhcpFrame, EthernetPaddingIsNotPartOfTheDatagram) {
  Frame frame = sample_frame(4);
  frame.resize(60);
  EXPECT_EQ(std::get<Datagram>(parse_frame(frame)).payload.size(), 4u);
}

TEST(DhcpFrame, AnAbsentUdpChecksumIsAcceptedAndAWrongOneIsNot) {
  Frame none = sample_frame();
  at(none, 40) = at(none, 41) = {};
  EXPECT_TRUE(std::holds_alternative<Datagram>(parse_frame(none)));
  Frame wrong = sample_frame();
  at(wrong, 40) ^= std::byte{0x55};
  EXPECT_TRUE(std::holds_alternative<Ignored>(parse_frame(wrong)));
}

TEST(DhcpFrame, AUdpChecksumThatComputesToZeroIsSentAsFfff) {
  bool seen = false;
  for (unsigned word = 0; word <= 0xffff; ++word) {
    const Bytes payload{static_cast<std::byte>(word >> 8), static_cast<std::byte>(word)};
    const Frame frame =
        framed({{}, {}, {ip("10.0.0.1"), kServerPort}, {ip("10.0.0.2"), kClientPort}, payload});
    const auto& udp = *net::view<net::UdpHeader>(ByteView{frame}, 34);
    ASSERT_NE(udp.checksum.raw(), 0);
    ASSERT_TRUE(std::holds_alternative<Datagram>(parse_frame(frame)));
    seen |= udp.checksum.raw() == 0xffff;
  }
  EXPECT_TRUE(seen);
}

TEST(DhcpFrame, Rfc2131_41_WhereARepliesGoes) {
  const auto relay = mac("52:54:00:00:00:99"), client = mac("52:54:00:00:00:01");
  const auto yiaddr = ip("192.168.122.5");
  struct Case {
    const char* says;
    const char* giaddr;
    const char* ciaddr;
    bool broadcast;
    MessageType type;
    net::MacAddr to_mac;
    net::Endpoint to;
  };
  const net::Endpoint everyone{kBroadcastAddress, kClientPort};
  const Case cases[] = {
      {"no address, no flag", "0.0.0.0", "0.0.0.0", false, MessageType::Offer, client, {yiaddr, kClientPort}},
      {"broadcast flag", "0.0.0.0", "0.0.0.0", true, MessageType::Offer, net::kBroadcastMac, everyone},
      {"has an address",
       "0.0.0.0",
       "192.168.122.7",
       true,
       MessageType::Ack,
       client,
       {ip("192.168.122.7"), kClientPort}},
      {"refused", "0.0.0.0", "192.168.122.7", false, MessageType::Nak, net::kBroadcastMac, everyone},
      {"relayed",
       "192.168.122.9",
       "192.168.122.7",
       true,
       MessageType::Ack,
       relay,
       {ip("192.168.122.9"), kServerPort}},
      {"relayed and refused",
       "192.168.122.9",
       "0.0.0.0",
       false,
       MessageType::Nak,
       relay,
       {ip("192.168.122.9"), kServerPort}},
  };
  for (const Case& c : cases) {
    MessageHeader request{};
    request.chaddr = client;
    request.giaddr = ip(c.giaddr);
    request.ciaddr = ip(c.ciaddr);
    request.flags = net::Be16::from_host(c.broadcast ? MessageHeader::kBroadcastFlag : 0);
    const ReplyTarget target = reply_target(request, relay, c.type, yiaddr);
    EXPECT_EQ(target.mac, c.to_mac) << c.says;
    EXPECT_EQ(target.endpoint, c.to) << c.says;
  }
}

}  // namespace
}  // namespace vmnat::dhcp::test
