// SPDX-License-Identifier: Apache-2.0
// TcpSource: opens, fills the windows, and goes back after a loss.
#include "bench/kernel/tcp_source.h"

#include <array>
#include <gtest/gtest.h>
#include <vector>

#include "net/checksum.h"

namespace vmnat::bench {
namespace {

constexpr std::uint32_t kPayload = TcpSource::kPayload;
constexpr Tuple kTuple{{net::Ipv4Addr::of(10, 77, 0, 3), net::L4Port::from_host(22'000)},
                       {net::Ipv4Addr::of(198, 18, 0, 1), net::L4Port::from_host(80)}};
constexpr std::size_t kIp = sizeof(net::EthernetHeader), kTcp = kIp + sizeof(net::Ipv4Header);

// What the other end says; `scale` as an option, if given.
std::vector<std::byte> reply(std::uint8_t flags, std::uint32_t acknowledgment, unsigned scale = 0) {
  std::vector<std::byte> frame(TcpSource::kHeaders + (scale == 0 ? 0 : 4));
  *net::mutable_view<net::Ipv4Header>(frame, kIp) = {.version_ihl = 0x45,
                                                     .protocol_number = 6,
                                                     .source = kTuple.destination.address,
                                                     .destination = kTuple.source.address};
  *net::mutable_view<net::TcpHeader>(frame, kTcp) = {.source_port = kTuple.destination.port,
                                                     .destination_port = kTuple.source.port,
                                                     .sequence = net::Be32::from_host(7000),
                                                     .acknowledgment = net::Be32::from_host(acknowledgment),
                                                     .flags = flags,
                                                     .window = net::Be16::from_host(0xffff)};
  if (scale != 0) {
    const std::array option = {std::byte{1}, std::byte{3}, std::byte{3}, static_cast<std::byte>(scale)};
    std::copy(option.begin(), option.end(), frame.begin() + TcpSource::kHeaders);
  }
  return frame;
}

TcpSource opened_source() {
  TcpSource source({}, {}, kTuple);
  source.receive(reply(net::TcpHeader::kSyn | net::TcpHeader::kAck, 1, 7));
  source.receive(reply(net::TcpHeader::kAck, 1));  // the first window that is scaled
  return source;
}

// The sequence number of the next super-frame.
std::uint32_t send(TcpSource& source) {
  std::array<std::byte, TcpSource::kHeaders> frame;
  source.write_next(frame);
  return net::view<net::TcpHeader>(frame, kTcp)->sequence.host();
}

TEST(TcpSource, TheSynHasRightChecksumsAndTheSegmentSize) {
  std::array<std::byte, TcpSource::kSynLength> frame;
  TcpSource({}, {}, kTuple).write_syn(frame);
  const auto& ip = *net::view<net::Ipv4Header>(frame, kIp);
  EXPECT_TRUE(net::is_intact(net::plain_header_sum(ip)));
  EXPECT_TRUE(net::is_intact(net::added_sum(std::span{frame}.subspan(kTcp),
                                            net::pseudo_header_sum(ip.source, ip.destination, 6, 28))));
  EXPECT_EQ(frame[TcpSource::kHeaders + 2], std::byte{1460 >> 8});
  EXPECT_EQ(frame[TcpSource::kHeaders + 3], std::byte{1460 & 0xff});
}

TEST(TcpSource, SendsNothingBeforeTheOtherEndHasAnswered) {
  EXPECT_FALSE(TcpSource({}, {}, kTuple).may_send());
  EXPECT_TRUE(opened_source().may_send());
}

TEST(TcpSource, AnotherConnectionsSegmentsArePassedOver) {
  TcpSource source({}, {}, {kTuple.source, {kTuple.destination.address, net::L4Port::from_host(81)}});
  source.receive(reply(net::TcpHeader::kSyn | net::TcpHeader::kAck, 1, 7));
  EXPECT_FALSE(source.is_open());
}

TEST(TcpSource, FillsTheCongestionWindowAndEachAcknowledgmentOpensItFurther) {
  TcpSource source = opened_source();
  unsigned sent = 0;
  for (; source.may_send(); ++sent) EXPECT_EQ(send(source), 1 + sent * kPayload);
  EXPECT_EQ(sent, 4);
  source.receive(reply(net::TcpHeader::kAck, 1 + kPayload));
  for (; source.may_send(); ++sent) send(source);
  EXPECT_EQ(sent, 6) << "slow start: one for the one that has left, one more";
}

TEST(TcpSource, ThreeEqualAcknowledgmentsSendAgainFromThereOnAndOnlyOnce) {
  TcpSource source = opened_source();
  while (source.may_send()) send(source);
  source.receive(reply(net::TcpHeader::kAck, 1 + kPayload));
  for (unsigned i = 0; i < 10; ++i) source.receive(reply(net::TcpHeader::kAck, 1 + kPayload));
  EXPECT_EQ(source.losses(), 1);
  EXPECT_EQ(send(source), 1 + kPayload);
}

TEST(TcpSource, AcknowledgmentsOfWhatWasSentBeforeGoingBackAreTaken) {
  TcpSource source = opened_source();
  for (unsigned i = 0; i < 3; ++i) send(source);
  source.go_back();
  source.receive(reply(net::TcpHeader::kAck, 1 + 3 * kPayload));
  EXPECT_EQ(send(source), 1 + 3 * kPayload);
}

}  // namespace
}  // namespace vmnat::bench
