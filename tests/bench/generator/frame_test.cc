// SPDX-License-Identifier: Apache-2.0
// The generator's frames are valid, and no change that a faulty device could make to them goes unnoticed.
#include "bench/generator/frame.h"

#include <functional>
#include <gtest/gtest.h>
#include <stdexcept>

#include "net/checksum.h"

namespace vmnat::bench {
namespace {

using Bytes = std::vector<std::byte>;

constexpr net::MacAddr kFrom{{0x52, 0x54, 0, 0, 0, 1}};
constexpr net::MacAddr kTo{{0x52, 0x54, 0, 0, 0, 2}};
constexpr FlowNumber kFlow = 0x01020304;

Tuple some_tuple() {
  return {{net::Ipv4Addr::of(192, 168, 122, 7), net::L4Port::from_host(5000)},
          {net::Ipv4Addr::of(198, 19, 3, 4), net::L4Port::from_host(6000)}};
}

Bytes made_frame(std::size_t wire_size, const Tuple& tuple = some_tuple(), FlowNumber flow = kFlow) {
  const FrameTemplate content(wire_size, kFrom, kTo);
  Bytes frame(content.bytes().begin(), content.bytes().end());
  content.patch_of(tuple, flow).apply_to(frame.data());
  return frame;
}

// What a right translation does: addresses and port by incremental checksums (RFC 1624), TTL.
Bytes translated(Bytes frame, net::Endpoint external) {
  auto& ip = *net::mutable_view<net::Ipv4Header>(frame, 14);
  auto& udp = *net::mutable_view<net::UdpHeader>(frame, 34);
  const auto address = net::ChecksumDelta::of(ip.source, external.address);
  const auto ttl = net::ChecksumDelta::of(std::uint16_t{0x1140}, std::uint16_t{0x113f});
  ip.checksum = (address + ttl).applied_to(ip.checksum);
  udp.checksum =
      (address + net::ChecksumDelta::of(udp.source_port, external.port)).applied_to_udp(udp.checksum);
  ip.source = external.address;
  udp.source_port = external.port;
  --ip.ttl;
  return frame;
}

class EveryFrameSize : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, EveryFrameSize, testing::Values(64, 65, 128, 512, 1517, 1518));

TEST_P(EveryFrameSize, IsValidAndSaysItsFlow) {
  const ReceivedFrame frame = read_frame(made_frame(GetParam()));
  EXPECT_EQ(frame.fault, Fault::None);
  EXPECT_EQ(frame.flow, kFlow);
  EXPECT_EQ(frame.tuple, some_tuple());
  EXPECT_EQ(frame.ttl, kSentTtl);
}

TEST_P(EveryFrameSize, IsStillValidWhenTranslated) {
  const net::Endpoint external{net::Ipv4Addr::of(198, 18, 0, 2), net::L4Port::from_host(1024)};
  const ReceivedFrame frame = read_frame(translated(made_frame(GetParam()), external));
  EXPECT_EQ(frame.fault, Fault::None);
  EXPECT_EQ(frame.tuple.source, external);
  EXPECT_EQ(frame.ttl, kSentTtl - 1);
}

TEST_P(EveryFrameSize, ShowsEveryBitThatIsFlippedBehindTheEthernetHeader) {
  const Bytes good = made_frame(GetParam());
  for (std::size_t bit = 14 * 8; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_NE(read_frame(bad).fault, Fault::None) << "bit " << bit;
  }
}

TEST_P(EveryFrameSize, ShowsEveryTruncation) {
  const Bytes good = made_frame(GetParam());
  for (std::size_t length = 0; length < good.size(); ++length)
    ASSERT_NE(read_frame(std::span{good}.first(length)).fault, Fault::None) << length << " bytes";
}

TEST(Frame, NamesWhatIsWrong) {
  struct Case {
    const char* says;
    std::size_t byte;
    Fault fault;
  };
  for (const auto& [says, byte, fault] :
       {Case{"another EtherType", 12, Fault::Foreign}, Case{"TTL without checksum", 22, Fault::IpChecksum},
        Case{"a port without checksum", 34, Fault::UdpChecksum}, Case{"UDP length", 38, Fault::Payload},
        Case{"no magic", 42, Fault::Foreign}, Case{"the pattern", 59, Fault::Payload}}) {
    Bytes frame = made_frame(64);
    frame[byte] ^= std::byte{1};
    EXPECT_EQ(read_frame(frame).fault, fault) << says;
  }
}

TEST(Frame, IsTheSameWhetherBufferHeldAnotherFlowBefore) {
  const FrameTemplate content(64, kFrom, kTo);
  Bytes frame = made_frame(64, {{net::Ipv4Addr::of(1, 2, 3, 4), net::L4Port::from_host(1)}, {}}, 99);
  content.patch_of(some_tuple(), kFlow).apply_to(frame.data());
  EXPECT_EQ(frame, made_frame(64));
}

TEST_P(EveryFrameSize, IsValidWithAnyTimeStamp) {
  for (const std::uint32_t ticks : {0u, 1u, 0xffffu, 0x10000u, 0x12345678u, 0xffffffffu}) {
    Bytes frame = made_frame(GetParam());
    TimeStamp::write(frame.data(), ticks);
    EXPECT_EQ(read_frame(frame).fault, Fault::None) << ticks;
    EXPECT_EQ(read_frame(frame).flow, kFlow);
    EXPECT_EQ(TimeStamp::read(frame.data()), ticks);
  }
}

TEST_P(EveryFrameSize, IsMadeInABufferOfTheLargestSizeAsWell) {
  const FrameTemplate largest(kLargestFrame, kFrom, kTo);
  const FrameTemplate content(GetParam(), kFrom, kTo);
  Bytes frame(largest.bytes().begin(), largest.bytes().end());
  TimeStamp::write(frame.data(), 0x12345678);  // of the frame that was here before
  content.patch_of(some_tuple(), kFlow).apply_to(frame.data());
  set_ip_length(frame.data(), content.length());
  frame.resize(content.length());
  EXPECT_EQ(frame, made_frame(GetParam()));
}

TEST(Frame, HasNoSizeOutsideOfEthernets) {
  EXPECT_THROW(FrameTemplate(63, kFrom, kTo), std::invalid_argument);
  EXPECT_THROW(FrameTemplate(1519, kFrom, kTo), std::invalid_argument);
}

}  // namespace
}  // namespace vmnat::bench
