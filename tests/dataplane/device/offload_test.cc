// SPDX-License-Identifier: Apache-2.0
// What guests leave to the device: partial checksums and super-frames of TCP and UDP, passed on or done.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <set>

#include "tests/support/fragment_builder.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::ForwardingState;
using dataplane::Offloads;
using net::TcpHeader;
using ::testing::SizeIs;

constexpr std::uint16_t kDontFragment = 0x4000;
constexpr std::size_t kTcpHeaders = 14 + 20 + 20;
constexpr std::size_t kUdpHeaders = 14 + 20 + 8;
constexpr Offloads kAll{.checksums = true, .tcp4_segments = true, .tcp6_segments = true};

Packet outbound(std::size_t payload) {
  return Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 80).payload(payload);
}
Packet to_vm2(std::size_t payload) {
  return Packet().from(vm_mac(1), kVm1Address, 40000).to(vm_mac(2), kVm2Address, 80).payload(payload);
}
Packet syn(Packet packet) {
  return packet.payload(0).tcp(TcpHeader::kSyn);
}
Packet segment(Packet packet) {
  return packet.tcp(TcpHeader::kAck | TcpHeader::kPsh).fragment(kDontFragment);
}

// As virtio's guests do it: what stands in the field is no finished checksum.
Bytes partial(Bytes frame) {
  const bool is_tcp = frame[23] == std::byte{6};
  const std::size_t field = 34 + (is_tcp ? 16 : 6);
  frame[field] = std::byte{0x12};
  frame[field + 1] = std::byte{0x34};
  return frame;
}
std::uint32_t sequence_of(const Bytes& frame) {
  return net::view<TcpHeader>(frame, 34)->sequence.host();
}
std::uint8_t flags_of(const Bytes& frame) {
  return net::view<TcpHeader>(frame, 34)->flags;
}
Bytes tcp_payload(const Bytes& frame) {
  return {frame.begin() + kTcpHeaders, frame.end()};
}

class Offload : public ::testing::Test {
 protected:
  void SetUp() override {
    bed.learn(kVm1, vm_mac(1));
    bed.learn(kVm2, vm_mac(2));
  }
  void TearDown() override { EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts()); }
  void give(PortIndex port, Offloads offloads) {
    bed.change_state([=](ForwardingState& state) { state.ports[port].offloads = offloads; });
  }
  void open_tcp() {
    bed.exchange(kVm1, syn(outbound(0)).frame());
    bed.take(kUplink);
  }
  std::vector<SentFrame> exchange(PortIndex from, const Bytes& frame, std::uint16_t segment_size,
                                  PortIndex to) {
    bed.put_unfinished(from, partial(frame), segment_size);
    bed.run();
    return bed.take_sent(to);
  }
  Testbed bed;
};

TEST_F(Offload, PartialChecksumIsFinishedForADeviceThatDoesNotDoIt) {
  for (const Packet& packet : {outbound(100).udp(), outbound(101).udp()}) {
    const auto sent = exchange(kVm1, packet.frame(), 0, kUplink);
    ASSERT_THAT(sent, SizeIs(1));
    EXPECT_TRUE(has_good_checksums(sent[0].bytes));
    EXPECT_EQ(to_string(source_of(sent[0].bytes).address), kExternal);
    EXPECT_EQ(sent[0].flags & RTE_MBUF_F_TX_L4_MASK, 0u);
  }
}

TEST_F(Offload, PartialChecksumIsLeftToADeviceThatDoesIt) {
  give(kUplink, {.checksums = true});
  const auto sent = exchange(kVm1, outbound(100).udp().frame(), 0, kUplink);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_TRUE(has_good_ip_checksum(sent[0].bytes));
  EXPECT_EQ(sent[0].flags & RTE_MBUF_F_TX_L4_MASK, RTE_MBUF_F_TX_UDP_CKSUM);
  EXPECT_EQ(sent[0].flags & RTE_MBUF_F_RX_L4_CKSUM_MASK, 0u);
  EXPECT_EQ(sent[0].header_lengths, (std::array<unsigned, 3>{14, 20, 8}));
}

TEST_F(Offload, SuperFrameLeavesInSegmentsWithChecksums) {
  open_tcp();
  const Bytes frame = segment(outbound(10'000)).frame();
  const auto sent = exchange(kVm1, frame, 1448, kUplink);
  ASSERT_THAT(sent, SizeIs(7));  // 6 x 1448 + 1312
  Bytes all;
  for (const SentFrame& one : sent) {
    EXPECT_TRUE(has_good_checksums(one.bytes));
    EXPECT_LE(one.bytes.size(), kTcpHeaders + 1448);
    EXPECT_EQ(to_string(source_of(one.bytes).address), kExternal);
    EXPECT_EQ(sequence_of(one.bytes), sequence_of(frame) + all.size());
    EXPECT_EQ((flags_of(one.bytes) & TcpHeader::kPsh) != 0, &one == &sent.back());
    const Bytes payload = tcp_payload(one.bytes);
    all.insert(all.end(), payload.begin(), payload.end());
  }
  EXPECT_EQ(all, tcp_payload(frame));
  EXPECT_EQ(bed.counts()["generated"], 6u);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().created, 1u);
}

TEST_F(Offload, SuperFrameStaysOneForADeviceThatSegments) {
  give(kUplink, kAll);
  open_tcp();
  const auto sent = exchange(kVm1, segment(outbound(10'000)).frame(), 1448, kUplink);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].bytes.size(), kTcpHeaders + 10'000);
  EXPECT_NE(sent[0].flags & RTE_MBUF_F_TX_TCP_SEG, 0u);
  EXPECT_EQ(sent[0].segment_size, 1448);
  EXPECT_EQ(sent[0].header_lengths, (std::array<unsigned, 3>{14, 20, 20}));
}

TEST_F(Offload, SuperFrameBetweenVmsIsPassedOrSegmentedAsTheReceiverHasIt) {
  const Bytes frame = segment(to_vm2(5'000)).frame();
  EXPECT_THAT(exchange(kVm1, frame, 1000, kVm2), SizeIs(5));
  give(kVm2, kAll);
  EXPECT_THAT(exchange(kVm1, frame, 1000, kVm2), SizeIs(1));
}

// Every one is a datagram of its own, with a checksum and a length of its own.
TEST_F(Offload, SuperFrameOfUdpLeavesInDatagrams) {
  for (const std::uint16_t size : {std::uint16_t{7}, std::uint16_t{1000}}) {
    const Bytes frame = outbound(std::size_t{5} * size + 3).udp().frame();
    const auto sent = exchange(kVm1, frame, size, kUplink);
    ASSERT_THAT(sent, SizeIs(6)) << size;
    Bytes all;
    std::set<std::uint16_t> identifications;
    for (const SentFrame& one : sent) {
      EXPECT_TRUE(has_good_checksums(one.bytes));
      EXPECT_EQ(net::view<net::UdpHeader>(one.bytes, 34)->length.host(), one.bytes.size() - 34);
      identifications.insert(net::view<net::Ipv4Header>(one.bytes, 14)->identification.host());
      all.insert(all.end(), one.bytes.begin() + kUdpHeaders, one.bytes.end());
    }
    EXPECT_EQ(all, Bytes(frame.begin() + kUdpHeaders, frame.end()));
    EXPECT_THAT(identifications, SizeIs(6)) << "each can be fragmented on its way";
  }
}

TEST_F(Offload, SuperFrameOfUdpStaysOneForADeviceThatTakesThem) {
  give(kUplink, {.checksums = true, .udp_segments = true});
  const auto sent = exchange(kVm1, outbound(5'000).udp().frame(), 1000, kUplink);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_NE(sent[0].flags & RTE_MBUF_F_TX_UDP_SEG, 0u);
  EXPECT_EQ(sent[0].segment_size, 1000);
  give(kUplink, kAll);
  EXPECT_THAT(exchange(kVm1, outbound(5'000).udp().frame(), 1000, kUplink), SizeIs(5))
      << "TCP's segments are another matter";
}

// Joined to one, the receiver would see one datagram where there were three.
TEST_F(Offload, DatagramsOfASuperFrameAboveTheMtuAreCutEachByItself) {
  bed.change_state([](ForwardingState& state) { state.uplinks[0].mtu = 600; });
  std::vector<Bytes> pieces;
  for (const SentFrame& sent : exchange(kVm1, outbound(3'000).udp().frame(), 1'300, kUplink))
    pieces.push_back(sent.bytes);
  ASSERT_THAT(pieces, SizeIs(3 + 3 + 1));
  for (const auto& [begin, count, payload] : {std::array{0, 3, 1300}, {3, 3, 1300}, {6, 1, 400}}) {
    const auto whole = joined({pieces.begin() + begin, pieces.begin() + begin + count});
    ASSERT_TRUE(whole) << begin;
    EXPECT_TRUE(has_good_checksums(*whole));
    EXPECT_EQ(whole->size(), kUdpHeaders + static_cast<std::size_t>(payload));
  }
}

TEST_F(Offload, SuperFrameIsMeasuredByItsSegments) {
  open_tcp();
  const Bytes frame = segment(outbound(4'000)).frame();
  EXPECT_THAT(exchange(kVm1, frame, 1460, kUplink), SizeIs(3));
  EXPECT_THAT(exchange(kVm1, frame, 1461, kUplink), SizeIs(0));
  EXPECT_EQ(bed.dropped(DropReason::TooBig), 1u);
  const auto errors = bed.take(kVm1);
  ASSERT_THAT(errors, SizeIs(1)) << "fragmentation needed";
  EXPECT_EQ(errors[0][34], std::byte{3});
  EXPECT_EQ(errors[0][35], std::byte{4});
}

TEST_F(Offload, SegmentsTooSmallToBeHonestAreDropped) {
  open_tcp();
  EXPECT_THAT(exchange(kVm1, segment(outbound(9'000)).frame(), 1, kUplink), SizeIs(0));
  EXPECT_EQ(bed.dropped(DropReason::Offload), 1u);
}

TEST_F(Offload, PartialDatagramIsFinishedBeforeItIsCut) {
  const Bytes frame = outbound(3'000).udp().frame();
  std::vector<Bytes> pieces;
  for (const SentFrame& sent : exchange(kVm1, frame, 0, kUplink)) pieces.push_back(sent.bytes);
  ASSERT_THAT(pieces, SizeIs(3));
  const auto whole = joined(pieces);
  ASSERT_TRUE(whole);
  EXPECT_TRUE(has_good_checksums(*whole));
}

TEST_F(Offload, WhatGoesToControlIsFinished) {
  const Bytes discover = Packet()
                             .from(vm_mac(1), "0.0.0.0", 68)
                             .to(net::kBroadcastMac, "255.255.255.255", 67)
                             .payload(240)
                             .udp()
                             .frame();
  bed.put_unfinished(kVm1, partial(discover), 0);
  bed.run();
  const auto punted = bed.take_punted();
  ASSERT_THAT(punted, SizeIs(1));
  EXPECT_EQ(punted[0], discover);
}

TEST_F(Offload, OfAFrameThatIsNeitherTcpNorUdpIsDropped) {
  bed.put_unfinished(kVm1, to_vm2(100).protocol(47).frame(), 0);
  bed.run();
  EXPECT_EQ(bed.dropped(DropReason::Offload), 1u);
}

}  // namespace
}  // namespace vmnat::test
