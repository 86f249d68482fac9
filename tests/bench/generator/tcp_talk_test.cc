// SPDX-License-Identifier: Apache-2.0
// The talk of client and server ends complete after six segments, and nothing out of place is answered.
#include "bench/generator/tcp_talk.h"

#include <gtest/gtest.h>
#include <vector>

namespace vmnat::bench {
namespace {

using Bytes = std::array<std::byte, TcpTemplate::length()>;
using net::TcpHeader;

constexpr net::MacAddr kFrom{{0x52, 0x54, 0, 0, 0, 1}};
constexpr net::MacAddr kTo{{0x52, 0x54, 0, 0, 0, 2}};

Tuple some_tuple() {
  return {{net::Ipv4Addr::of(192, 168, 122, 7), net::L4Port::from_host(5000)},
          {net::Ipv4Addr::of(198, 19, 3, 4), net::L4Port::from_host(6000)}};
}

Bytes made_frame(const TcpSegment& segment) {
  Bytes frame;
  TcpTemplate(kFrom, kTo).write(segment, frame.data());
  return frame;
}

TEST(TcpTalk, OpensAndClosesWithSixSegments) {
  for (const FlowNumber flow : {0u, 1u, 123456u, kMostTcpFlows - 1}) {
    std::vector<TcpSegment> outbound{first_segment(some_tuple(), flow)}, inbound;
    std::vector<unsigned> flags;
    unsigned completions = 0;
    for (std::size_t out = 0, in = 0; out < outbound.size();) {
      const Answer from_server = server_answer(outbound[out++]);
      completions += from_server.is_complete ? 1 : 0;
      inbound.insert(inbound.end(), from_server.segments.begin(),
                     from_server.segments.begin() + from_server.count);
      for (; in < inbound.size(); ++in) {
        const Answer from_client = client_answer(inbound[in]);
        outbound.insert(outbound.end(), from_client.segments.begin(),
                        from_client.segments.begin() + from_client.count);
      }
    }
    for (const TcpSegment& segment : outbound) {
      flags.push_back(segment.flags);
      EXPECT_EQ(segment.tuple, some_tuple());
      EXPECT_EQ(segment.flow(), flow);
    }
    EXPECT_EQ(flags, (std::vector<unsigned>{TcpHeader::kSyn, TcpHeader::kAck,
                                            TcpHeader::kFin | TcpHeader::kAck, TcpHeader::kAck}));
    ASSERT_EQ(inbound.size(), 2u);
    EXPECT_EQ(inbound[0].flags, TcpHeader::kSyn | TcpHeader::kAck);
    EXPECT_EQ(inbound[1].flags, TcpHeader::kFin | TcpHeader::kAck);
    EXPECT_EQ(completions, 1u);
  }
}

TEST(TcpTalk, AnswersNothingThatHasNoPlaceInIt) {
  const TcpSegment syn = first_segment(some_tuple(), 7);
  EXPECT_EQ(client_answer(syn).count, 0u);
  TcpSegment syn_ack = server_answer(syn).segments[0];
  EXPECT_EQ(server_answer(syn_ack).count, 0u);
  syn_ack.acknowledgment += 1;
  EXPECT_EQ(client_answer(syn_ack).count, 0u);
  TcpSegment reset = syn;
  reset.flags = TcpHeader::kRst;
  EXPECT_EQ(server_answer(reset).count, 0u);
  EXPECT_EQ(client_answer(reset).count, 0u);
  EXPECT_FALSE(server_answer(reset).is_complete);
}

TEST(TcpTalk, FramesSayTheirSegmentAndAreValid) {
  const TcpSegment segment{some_tuple(), 0xfedcba98, 0x12345678, TcpHeader::kFin | TcpHeader::kAck};
  const Bytes frame = made_frame(segment);
  EXPECT_EQ(read_segment(frame), segment);
  EXPECT_EQ(checksum_fault_of(frame), Fault::None);
}

TEST(TcpTalk, ShowsEveryBitThatIsFlippedInTheHeaders) {
  const Bytes good = made_frame(first_segment(some_tuple(), 99));
  for (std::size_t bit = 14 * 8; bit < 54 * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_TRUE(!read_segment(bad) || checksum_fault_of(bad) != Fault::None) << "bit " << bit;
  }
}

TEST(TcpTalk, TakesNoCutFrameAndNoUdp) {
  const Bytes good = made_frame(first_segment(some_tuple(), 99));
  for (std::size_t length = 0; length < 54; ++length)
    EXPECT_FALSE(read_segment(std::span{good}.first(length))) << length;
  Bytes udp = good;
  udp[23] = std::byte{17};
  EXPECT_FALSE(read_segment(udp));
}

}  // namespace
}  // namespace vmnat::bench
