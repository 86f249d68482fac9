// SPDX-License-Identifier: Apache-2.0
// The incremental checksum against full recomputation, on a million random headers.
#include "net/checksum.h"

#include <array>
#include <gtest/gtest.h>
#include <random>

#include "net/wire.h"

namespace vmnat::net {
namespace {

struct Segment {
  Ipv4Header ip{};
  UdpHeader l4{};
  std::array<std::byte, 12> payload{};
};

Be16 full_ip_checksum(Ipv4Header ip) {
  ip.checksum = {};
  return checksum_of(added_sum(std::as_bytes(std::span{&ip, 1})));
}

Be16 full_l4_checksum(Segment segment) {
  segment.l4.checksum = {};
  std::uint64_t sum = pseudo_header_sum(segment.ip.source, segment.ip.destination, segment.ip.protocol_number,
                                        sizeof(UdpHeader) + sizeof(segment.payload));
  sum = added_sum(std::as_bytes(std::span{&segment.l4, 1}), sum);
  return checksum_of(added_sum(segment.payload, sum));
}

Segment random_segment(std::mt19937_64& random) {
  std::array<std::uint64_t, sizeof(Segment) / 8> words;
  for (auto& word : words) word = random();
  auto segment = std::bit_cast<Segment>(words);
  // Values at the edges of one's complement arithmetic are where implementations differ.
  if (random() % 8 == 0) segment.ip.source = Ipv4Addr::from_raw(random() % 2 ? 0 : 0xffffffff);
  if (random() % 8 == 0) segment.l4.source_port = L4Port::from_raw(random() % 2 ? 0 : 0xffff);
  segment.ip.version_ihl = 0x45;
  segment.ip.protocol_number = 17;
  segment.ip.checksum = full_ip_checksum(segment.ip);
  segment.l4.checksum = full_l4_checksum(segment);
  return segment;
}

TEST(Checksum, DeltaEqualsFullRecomputationOnAMillionRandomHeaders) {
  std::mt19937_64 random(1624);
  for (int i = 0; i < 1'000'000; ++i) {
    Segment segment = random_segment(random);
    const Segment original = segment;
    segment.ip.source = Ipv4Addr::from_raw(static_cast<std::uint32_t>(random()));
    segment.l4.source_port = L4Port::from_raw(static_cast<std::uint16_t>(random()));
    const auto address = ChecksumDelta::of(original.ip.source, segment.ip.source);
    const auto both = address + ChecksumDelta::of(original.l4.source_port, segment.l4.source_port);
    ASSERT_EQ(address.applied_to(original.ip.checksum).raw(), full_ip_checksum(segment.ip).raw()) << i;
    const Be16 expected_l4 = full_l4_checksum(segment);
    ASSERT_EQ(both.applied_to(original.l4.checksum).raw(), expected_l4.raw()) << i;
    // And the way back restores the original to the bit.
    ASSERT_EQ(both.negated().applied_to(expected_l4).raw(), original.l4.checksum.raw()) << i;
    ASSERT_EQ(address.negated().applied_to(full_ip_checksum(segment.ip)).raw(), original.ip.checksum.raw())
        << i;
  }
}

TEST(Checksum, UdpZeroStaysZeroAndComputedZeroBecomesAllOnes) {  // RFC 768
  const auto delta = ChecksumDelta::of(std::uint16_t{0x5555}, std::uint16_t{0x3285});
  EXPECT_EQ(delta.applied_to_udp(Be16::from_raw(0)).raw(), 0);
  EXPECT_EQ(delta.applied_to_udp(Be16::from_raw(0xdd2f)).raw(), 0xffff);
}

TEST(Checksum, SumPadsAnOddByteWithZero) {  // RFC 1071 section 4.1
  const std::array<std::byte, 3> odd{std::byte{1}, std::byte{2}, std::byte{3}};
  const std::array<std::byte, 4> even{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{0}};
  EXPECT_EQ(folded(added_sum(odd)), folded(added_sum(even)));
}

TEST(Wire, ViewAnswersNothingWhenBytesAreMissing) {
  std::array<std::byte, 20> bytes{};
  EXPECT_NE(view<Ipv4Header>(bytes), nullptr);
  EXPECT_EQ(view<Ipv4Header>(bytes, 1), nullptr);
  EXPECT_EQ(view<UdpHeader>(bytes, 13), nullptr);
  EXPECT_NE(view<UdpHeader>(bytes, 12), nullptr);
  EXPECT_EQ(view<UdpHeader>(bytes, std::size_t{0} - 4), nullptr);
}

}  // namespace
}  // namespace vmnat::net
