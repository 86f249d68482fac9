// SPDX-License-Identifier: Apache-2.0
// The codec against bytes written by hand.
#include "dhcp/message.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>

#include "tests/dhcp/test_client.h"

namespace vmnat::dhcp::test {
namespace {

// A message with these option bytes behind the cookie, and these in file and sname.
Bytes message_with(std::string_view options, std::string_view file = "", std::string_view sname = "") {
  MessageHeader header{};
  header.op = Op::Request;
  header.cookie = net::Be32::from_host(MessageHeader::kMagicCookie);
  const Bytes file_bytes = hex(file), sname_bytes = hex(sname);
  const auto as_char = [](std::byte byte) { return static_cast<char>(byte); };
  std::ranges::transform(file_bytes, header.file.begin(), as_char);
  std::ranges::transform(sname_bytes, header.sname.begin(), as_char);
  Bytes bytes(sizeof(header));
  std::memcpy(bytes.data(), &header, sizeof(header));
  const Bytes tail = hex(options);
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  return bytes;
}

OptionSet options_of(std::string_view options, std::string_view file = "", std::string_view sname = "") {
  return parse_message(message_with(options, file, sname)).value().options;
}

TEST(DhcpMessage, HeaderFieldsStandWhereRfc2131PutsThem) {
  Bytes bytes(240);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  const Bytes cookie = hex("63825363");
  std::ranges::copy(cookie, bytes.begin() + 236);
  bytes[0] = std::byte{1};
  const MessageHeader header = parse_message(bytes).value().header;
  EXPECT_EQ(header.op, Op::Request);
  EXPECT_EQ(header.hardware_type, 1);
  EXPECT_EQ(header.hardware_length, 2);
  EXPECT_EQ(header.hops, 3);
  EXPECT_EQ(header.xid.host(), 0x04050607u);
  EXPECT_EQ(header.secs.host(), 0x0809);
  EXPECT_EQ(header.flags.host(), 0x0a0b);
  EXPECT_EQ(header.ciaddr, ip("12.13.14.15"));
  EXPECT_EQ(header.yiaddr, ip("16.17.18.19"));
  EXPECT_EQ(header.siaddr, ip("20.21.22.23"));
  EXPECT_EQ(header.giaddr, ip("24.25.26.27"));
  EXPECT_EQ(header.chaddr, mac("1c:1d:1e:1f:20:21"));
  EXPECT_EQ(header.sname[0], 44);
  EXPECT_EQ(header.file[0], 108);
}

TEST(DhcpMessage, WhatIsTooShortOrHasAnotherCookieIsNoMessage) {
  const Bytes good = message_with("ff");
  for (std::size_t size = 0; size < 240; ++size)
    EXPECT_FALSE(parse_message(ByteView{good}.first(size))) << size;
  EXPECT_TRUE(parse_message(ByteView{good}.first(240)));
  Bytes bootp = good;
  bootp[236] = std::byte{0};
  EXPECT_FALSE(parse_message(bootp));
}

TEST(DhcpMessage, AMalformedOptionIsAbsentAndItsNeighboursAreNot) {
  struct Case {
    const char* says;
    const char* options;
    Option malformed;
  };
  const Case cases[] = {
      {"message type of two bytes", "35 02 01 00 0c 01 61 ff", Option::MessageType},
      {"message type of none", "35 00 0c 01 61 ff", Option::MessageType},
      {"address of three bytes", "32 03 c0 a8 7a 0c 01 61 ff", Option::RequestedAddress},
      {"address of five bytes", "32 05 c0 a8 7a 01 02 0c 01 61 ff", Option::RequestedAddress},
      {"lease time of two bytes", "33 02 0e 10 0c 01 61 ff", Option::LeaseTime},
      {"message size of one byte", "39 01 05 0c 01 61 ff", Option::MaxMessageSize},
      {"routers of six bytes", "03 06 01 02 03 04 05 06 0c 01 61 ff", Option::Router},
      {"client-id of none", "3d 00 0c 01 61 ff", Option::ClientId},
      {"rapid commit with a value", "50 01 00 0c 01 61 ff", Option::RapidCommit},
      {"length beyond the end, last", "0c 01 61 32 04 c0 a8 7a", Option::RequestedAddress},
      {"code without a length, last", "0c 01 61 32", Option::RequestedAddress},
  };
  for (const Case& c : cases) {
    const OptionSet options = options_of(c.options);
    EXPECT_FALSE(options.has(c.malformed)) << c.says;
    EXPECT_TRUE(options.bytes(c.malformed).empty()) << c.says;
    EXPECT_FALSE(options.address(c.malformed)) << c.says;
    EXPECT_FALSE(options.long_value(c.malformed)) << c.says;
    EXPECT_EQ(options.text(Option::HostName), "a") << c.says;
  }
}

TEST(DhcpMessage, PaddingIsSkippedAndNothingIsReadBehindTheEndMark) {
  const OptionSet options = options_of("00 00 35 01 03 00 ff 0c 01 61");
  EXPECT_EQ(options.byte(Option::MessageType), 3);
  EXPECT_FALSE(options.has(Option::HostName));
  EXPECT_EQ(options_of("35 01 01").byte(Option::MessageType), 1);  // the end mark may be missing
}

TEST(DhcpMessage, Rfc3396_PiecesOfOneOptionAreJoinedInOrder) {
  EXPECT_EQ(options_of("0c 02 77 65 35 01 01 0c 02 62 31 ff").text(Option::HostName), "web1");
  EXPECT_EQ(options_of("32 02 c0 a8 32 02 7a 05 ff").address(Option::RequestedAddress), ip("192.168.122.5"));
}

TEST(DhcpMessage, Overload_OptionsInFileAndSnameAreReadInThisOrder) {
  const char* file = "0c 01 65 ff";
  const char* sname = "0c 01 62 32 04 c0 a8 7a 05 ff";
  EXPECT_EQ(options_of("34 01 01 0c 01 77 ff", file, sname).text(Option::HostName), "we");
  EXPECT_EQ(options_of("34 01 02 0c 01 77 ff", file, sname).text(Option::HostName), "wb");
  EXPECT_EQ(options_of("34 01 03 0c 01 77 ff", file, sname).text(Option::HostName), "web");
  EXPECT_EQ(options_of("34 01 03 ff", file, sname).address(Option::RequestedAddress), ip("192.168.122.5"));
  EXPECT_EQ(options_of("0c 01 77 ff", file, sname).text(Option::HostName), "w");
}

TEST(DhcpMessage, Overload_InsideOfAnOverloadedFieldHasNoMeaning) {
  EXPECT_EQ(options_of("34 01 01 ff", "34 01 03 ff", "0c 01 62 ff").text(Option::HostName), "");
}

TEST(DhcpMessage, TheParameterRequestListSaysWhatIsWanted) {
  const OptionSet listed = options_of("37 02 01 03 ff");
  EXPECT_TRUE(listed.asks_for(Option::Router) && listed.names(Option::Router));
  EXPECT_FALSE(listed.asks_for(Option::DnsServers));
  const OptionSet unlisted = options_of("ff");
  EXPECT_TRUE(unlisted.asks_for(Option::DnsServers));
  EXPECT_FALSE(unlisted.names(Option::DnsServers));
}

TEST(DhcpMessage, OnlyTheEightTypesAreTypes) {
  const auto type_of = [](std::string_view options) {
    return parse_message(message_with(options)).value().type();
  };
  EXPECT_EQ(type_of("35 01 01 ff"), MessageType::Discover);
  EXPECT_EQ(type_of("35 01 08 ff"), MessageType::Inform);
  for (const char* none : {"ff", "35 01 00 ff", "35 01 09 ff", "35 01 ff ff"})
    EXPECT_FALSE(type_of(none)) << none;
}

TEST(DhcpBuilder, WritesOptionsAnEndMarkAndPaddingTo300Bytes) {
  MessageBuilder builder{MessageHeader{}};
  builder.add(Option::MessageType, MessageType::Ack);
  builder.add(Option::Router, ip("192.168.122.1"));
  builder.add_short(Option::InterfaceMtu, 1500);
  builder.add_long(Option::LeaseTime, 3600);
  const Bytes bytes = builder.finished();
  EXPECT_EQ(bytes.size(), 300u);
  const Bytes expected = hex("35 01 05 03 04 c0 a8 7a 01 1a 02 05 dc 33 04 00 00 0e 10 ff 00");
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), bytes.begin() + 240));
}

TEST(DhcpBuilder, WhatDoesNotFitIsLeftOutWholeAndCounted) {
  MessageBuilder builder{MessageHeader{}, 300};                        // 59 bytes of options and the end mark
  EXPECT_TRUE(builder.add(Option::HostName, std::string(50, 'a')));    // 52
  EXPECT_FALSE(builder.add(Option::DomainName, std::string(6, 'b')));  // would be 60
  EXPECT_TRUE(builder.add(Option::DomainName, std::string(5, 'b')));   // 59
  EXPECT_EQ(builder.left_out(), 1u);
  const Bytes bytes = builder.finished();
  EXPECT_EQ(bytes.size(), 300u);
  EXPECT_EQ(bytes.back(), std::byte{255});
}

TEST(DhcpBuilder, Rfc3396_ALongOptionGoesOutInPiecesAndComesBackWhole) {
  MessageHeader header{};
  header.cookie = net::Be32::from_host(MessageHeader::kMagicCookie);
  for (const std::size_t size : {0u, 1u, 254u, 255u, 256u, 510u, 511u}) {
    MessageBuilder builder{header, 1472};
    const Bytes value(size, std::byte{7});
    EXPECT_TRUE(builder.add(Option::DomainSearch, ByteView{value}));
    const Message message = parse_message(builder.finished()).value();
    EXPECT_TRUE(message.options.has(Option::DomainSearch));
    EXPECT_TRUE(std::ranges::equal(message.options.bytes(Option::DomainSearch), value)) << size;
  }
}

TEST(DhcpBuilder, HeldBackBytesAreForTheLastOption) {
  MessageBuilder builder{MessageHeader{}, 300};
  builder.hold_back(12);
  EXPECT_FALSE(builder.add(Option::HostName, std::string(46, 'a')));
  EXPECT_TRUE(builder.add(Option::HostName, std::string(45, 'a')));
  builder.hold_back(0);
  EXPECT_TRUE(builder.add(Option::RelayAgent, std::string(10, 'b')));
}

TEST(DhcpMessage, TheLimitIsOption57WithinMtuAndAtLeast576) {
  const auto limit = [](std::string_view options, std::uint16_t mtu) {
    return message_limit(parse_message(message_with(options)).value(), mtu) + 28;
  };
  EXPECT_EQ(limit("ff", 1500), 576u);
  EXPECT_EQ(limit("39 02 05 c0 ff", 1500), 1472u);
  EXPECT_EQ(limit("39 02 ff ff ff", 1500), 1500u);
  EXPECT_EQ(limit("39 02 00 10 ff", 1500), 576u);
  EXPECT_EQ(limit("39 01 05 ff", 1500), 576u);
  EXPECT_EQ(limit("39 02 05 c0 ff", 1000), 1000u);
}

}  // namespace
}  // namespace vmnat::dhcp::test
