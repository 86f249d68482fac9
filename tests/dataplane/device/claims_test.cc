// SPDX-License-Identifier: Apache-2.0
// What a guest says of its frame: settled by the bytes, or dropped; and whatever it says, what leaves fits.
#include "dataplane/device/claims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <rte_ethdev.h>

#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::ForwardingState;
using dataplane::Offloads;
using dataplane::virtio::NetHeader;
using net::TcpHeader;
using ::testing::SizeIs;

constexpr std::size_t kTcpHeaders = 14 + 20 + 20;
constexpr NetHeader kPartial{.flags = NetHeader::kNeedsChecksum, .checksum_start = 34, .checksum_offset = 16};

NetHeader in_segments(std::uint16_t size, std::uint8_t type = NetHeader::kTcp4) {
  NetHeader header = kPartial;
  header.segmentation = type;
  header.segment_size = size;
  return header;
}

NetHeader in_datagrams(std::uint16_t size) {
  NetHeader header = in_segments(size, NetHeader::kUdpSegments);
  header.checksum_offset = 6;
  return header;
}

Packet to_server() {
  return Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 80);
}
Packet to_vm2() {
  return Packet().from(vm_mac(1), kVm1Address, 40000).to(vm_mac(2), "192.168.122.11", 80);
}
Bytes segment(Packet packet, std::size_t payload) {
  return packet.payload(payload).tcp(TcpHeader::kAck).fragment(0x4000).frame();
}

// As long as `bytes`, whatever IP says.
Bytes padded(Bytes frame, std::size_t bytes) {
  frame.resize(bytes, std::byte{0xee});
  return frame;
}
Bytes with_total_length(Bytes frame, std::size_t length) {
  frame[16] = static_cast<std::byte>(length >> 8);
  frame[17] = static_cast<std::byte>(length & 0xff);
  mend_ip_checksum(frame);
  return frame;
}

// IPv6 with `extensions` hop-by-hop headers of 8 bytes, and TCP.
Bytes ipv6(std::size_t extensions, std::size_t payload) {
  Bytes frame = segment(to_vm2(), payload);
  const Bytes tcp(frame.begin() + 34, frame.end());
  Bytes header(40);
  const std::size_t length = extensions * 8 + tcp.size();
  header[0] = std::byte{0x60};
  header[4] = static_cast<std::byte>(length >> 8);
  header[5] = static_cast<std::byte>(length & 0xff);
  header[6] = extensions == 0 ? std::byte{6} : std::byte{0};
  for (std::size_t i = 0; i < extensions; ++i) {
    Bytes extension(8);
    extension[0] = i + 1 == extensions ? std::byte{6} : std::byte{0};
    header.insert(header.end(), extension.begin(), extension.end());
  }
  frame.resize(14);
  frame[12] = std::byte{0x86};
  frame[13] = std::byte{0xdd};
  frame.insert(frame.end(), header.begin(), header.end());
  frame.insert(frame.end(), tcp.begin(), tcp.end());
  return frame;
}

// Of VLAN 5, one behind the other.
constexpr std::size_t kTag = 4;
Bytes with_tags(Bytes frame, std::size_t tags) {
  for (std::size_t i = 0; i < tags; ++i) {
    const Bytes tag{std::byte{0x81}, std::byte{0}, std::byte{0}, std::byte{5}};
    frame.insert(frame.begin() + 12, tag.begin(), tag.end());
  }
  return frame;
}
NetHeader behind_tags(NetHeader header, std::size_t tags) {
  header.checksum_start = static_cast<std::uint16_t>(header.checksum_start + tags * kTag);
  return header;
}

// ---- one frame

enum class Becomes { Ordinary, Partial, SuperFrame, Refused };

struct Case {
  const char* says;
  NetHeader header;
  Bytes frame;
  Becomes becomes;
  std::size_t length;  // of the frame then
};

Becomes what_became_of(rte_mbuf* frame) {
  if (!dataplane::is_unfinished(frame)) return Becomes::Ordinary;
  if (!dataplane::settle(frame)) return Becomes::Refused;
  return dataplane::is_super_frame(frame) ? Becomes::SuperFrame : Becomes::Partial;
}

std::vector<Case> cases() {
  const Bytes bare = segment(to_server(), 0), large = segment(to_server(), 9'000);
  const Bytes udp = to_server().payload(100).udp().frame();
  const Bytes largest = segment(to_server(), 65'495);
  NetHeader udp_sum = kPartial, no_sum = in_segments(1448), elsewhere = kPartial,
            cut_elsewhere = in_segments(1448);
  udp_sum.checksum_offset = 6;
  no_sum.flags = 0;
  elsewhere.checksum_start = 60'000;
  cut_elsewhere.checksum_start = 14;
  NetHeader in_the_last_byte = kPartial;
  in_the_last_byte.checksum_start = 53;
  in_the_last_byte.checksum_offset = 0;
  return {
      {"nothing", {}, bare, Becomes::Ordinary, 54},
      {"TCP, partial", kPartial, large, Becomes::Partial, 9'054},
      {"UDP, partial", udp_sum, udp, Becomes::Partial, 142},
      {"partial, padded", kPartial, padded(bare, 1'000), Becomes::Partial, 54},
      {"a checksum beyond the frame", elsewhere, bare, Becomes::Refused, 54},
      {"a checksum half in the frame", in_the_last_byte, bare, Becomes::Refused, 54},
      {"IP longer than the frame", kPartial, with_total_length(bare, 41), Becomes::Refused, 54},
      {"IP shorter than its headers", in_segments(1448), with_total_length(large, 39), Becomes::Refused,
       9'054},
      {"a super-frame", in_segments(1448), large, Becomes::SuperFrame, 9'054},
      {"a super-frame whose sum is said to be there", no_sum, large, Becomes::SuperFrame, 9'054},
      {"a super-frame with congestion marks", in_segments(1448, NetHeader::kTcp4 | NetHeader::kEcn), large,
       Becomes::SuperFrame, 9'054},
      {"the largest there is", in_segments(1448), largest, Becomes::SuperFrame, 65'549},
      {"nothing to cut: no payload", in_segments(1448), bare, Becomes::Partial, 54},
      {"nothing to cut: one segment", in_segments(9'000), large, Becomes::Partial, 9'054},
      {"nothing to cut, and no sum to make", no_sum, bare, Becomes::Ordinary, 54},
      {"nothing to cut by IP", in_segments(65'535), padded(bare, 65'557), Becomes::Partial, 54},
      {"a super-frame that is cut off", in_segments(1448), with_total_length(large, 3'000),
       Becomes::SuperFrame, 3'014},
      {"segments of nothing", in_segments(0), large, Becomes::Refused, 9'054},
      {"segments of one byte", in_segments(1), large, Becomes::Refused, 9'054},
      {"segments of 64, but too many", in_segments(64), largest, Becomes::Refused, 65'549},
      {"IPv6 segments of IPv4", in_segments(1448, NetHeader::kTcp6), large, Becomes::Refused, 9'054},
      {"TCP segments of UDP", in_segments(1448), udp, Becomes::Refused, 142},
      {"datagrams to be fragmented", in_segments(1448, NetHeader::kUdp), udp, Becomes::Refused, 142},
      {"datagrams", in_datagrams(40), udp, Becomes::SuperFrame, 142},
      {"datagrams of one byte", in_datagrams(1), udp, Becomes::SuperFrame, 142},
      {"datagrams of nothing", in_datagrams(0), udp, Becomes::Refused, 142},
      {"one datagram", in_datagrams(100), udp, Becomes::Partial, 142},
      {"datagrams of one byte, but too many", in_datagrams(1), to_server().payload(257).udp().frame(),
       Becomes::Refused, 299},
      {"datagrams of TCP", in_segments(1448, NetHeader::kUdpSegments), large, Becomes::Refused, 9'054},
      {"a kind that nobody offered", in_segments(1448, 6), large, Becomes::Refused, 9'054},
      {"a super-frame whose sum is elsewhere", cut_elsewhere, large, Becomes::Refused, 9'054},
      {"a fragment", in_segments(1448),
       to_server().payload(4'000).tcp(TcpHeader::kAck).fragment(0x2000).frame(), Becomes::Refused, 4'054},
  };
}

TEST(Claims, AreSettledByWhatIsThere) {
  for (const Case& one : cases()) {
    rte_mbuf* frame = buffer_of(one.frame);
    if ((one.header.flags | one.header.segmentation) != 0) dataplane::mark_unfinished(frame, one.header);
    EXPECT_EQ(what_became_of(frame), one.becomes) << one.says;
    EXPECT_EQ(frame->pkt_len, one.length) << one.says;
    std::size_t length = 0;
    unsigned buffers = 0;
    for (const rte_mbuf* buffer = frame; buffer != nullptr; buffer = buffer->next, ++buffers)
      length += buffer->data_len;
    EXPECT_EQ(length, frame->pkt_len) << one.says;
    EXPECT_EQ(buffers, frame->nb_segs) << one.says;
    rte_pktmbuf_free(frame);
  }
}

TEST(Claims, OfADriverAreSettledInTheSameWay) {
  rte_mbuf* frame = buffer_of(padded(segment(to_server(), 4'000), 65'557));
  frame->ol_flags |= RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE;
  frame->tso_segsz = 65'535;
  EXPECT_EQ(what_became_of(frame), Becomes::Partial);
  EXPECT_EQ(frame->pkt_len, kTcpHeaders + 4'000);
  rte_pktmbuf_free(frame);
}

TEST(Claims, ANicsVerdictOnAChecksumIsNone) {
  for (const std::uint64_t verdict : {RTE_MBUF_F_RX_L4_CKSUM_BAD, RTE_MBUF_F_RX_L4_CKSUM_GOOD}) {
    rte_mbuf* frame = buffer_of(segment(to_server(), 10));
    frame->ol_flags |= verdict;
    EXPECT_FALSE(dataplane::is_unfinished(frame));
    rte_pktmbuf_free(frame);
  }
}

TEST(Claims, BehindExtensionHeadersOfIpv6TheChecksumIsTheTransportHeaders) {
  for (const std::size_t extensions : {0, 1, 3}) {
    const Bytes good = ipv6(extensions, 100);
    NetHeader header = kPartial;
    header.checksum_start = static_cast<std::uint16_t>(54 + extensions * 8);
    rte_mbuf* frame = buffer_of(good);
    dataplane::mark_unfinished(frame, header);
    ASSERT_EQ(what_became_of(frame), Becomes::Partial) << extensions;
    dataplane::finish_checksum(frame);
    std::uint16_t sum = 0;
    rte_raw_cksum_mbuf(frame, header.checksum_start, frame->pkt_len - header.checksum_start, &sum);
    std::uint64_t whole = std::uint64_t{sum} + net::BigEndian<std::uint16_t>::from_host(6).raw();
    const auto tcp_length = static_cast<std::uint16_t>(frame->pkt_len - header.checksum_start);
    whole += net::Be16::from_host(tcp_length).raw();  // addresses are zero
    EXPECT_EQ(net::folded(whole), 0xffff) << extensions;
    rte_pktmbuf_free(frame);
  }
}

// ---- through the gateway

class ClaimsOnTheWay : public OnTestbed {
 protected:
  void SetUp() override {
    OnTestbed::SetUp();
    bed.learn(kVm2, vm_mac(2));
    bed.exchange(kVm1, to_server().payload(0).tcp(TcpHeader::kSyn).frame());
    bed.take(kUplink);
    buffers_ = bed.free_buffers();
  }
  void give(PortIndex port, Offloads offloads) {
    bed.change_state([=](ForwardingState& state) { state.ports[port].offloads = offloads; });
  }
  std::vector<SentFrame> send(const Bytes& bytes, const NetHeader& header, PortIndex to) {
    rte_mbuf* frame = buffer_of(bytes);
    if ((header.flags | header.segmentation) != 0) dataplane::mark_unfinished(frame, header);
    bed.put(kVm1, frame);
    bed.run();
    return bed.take_sent(to);
  }
  std::size_t buffers_ = 0;
};

TEST_F(ClaimsOnTheWay, ASynOrABareAckInSegmentsIsAnOrdinaryFrame) {
  const auto sent = send(to_server().payload(0).tcp(TcpHeader::kSyn).frame(), in_segments(1448), kUplink);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_TRUE(has_good_checksums(sent[0].bytes));
  EXPECT_THAT(send(segment(to_server(), 0), in_segments(1448), kUplink), SizeIs(1));
  EXPECT_EQ(bed.counts()["generated"], 0u);
  give(kVm2, {.checksums = true, .tcp4_segments = true});
  const auto passed = send(segment(to_vm2(), 0), in_segments(1448), kVm2);
  ASSERT_THAT(passed, SizeIs(1));
  EXPECT_EQ(passed[0].flags & RTE_MBUF_F_TX_TCP_SEG, 0u);
}

TEST_F(ClaimsOnTheWay, WhatIsRoutedEndsWhereIpSays) {
  for (const std::size_t length : {100, 1'600, 9'000, 65'557}) {
    const Bytes datagram = to_server().payload(18).udp().frame();
    const auto sent = send(padded(datagram, length), {}, kUplink);
    ASSERT_THAT(sent, SizeIs(1)) << length;
    EXPECT_EQ(sent[0].bytes.size(), datagram.size()) << length;
    EXPECT_TRUE(has_good_checksums(sent[0].bytes)) << length;
  }
  const Bytes reply =
      Packet().from(kRouterMac, kServer, 80).to(kUplinkMac, kExternal, 40000).payload(18).udp().frame();
  bed.exchange(kUplink, padded(reply, 100));
  EXPECT_EQ(only(bed.take(kVm1)).size(), reply.size());
}

TEST_F(ClaimsOnTheWay, WhatIsAnsweredOrPuntedHasNothingBehindIt) {
  const Bytes request =
      arp(net::ArpOperation::Request, vm_mac(1), kVm1Address, {}, "192.168.122.1", net::kBroadcastMac);
  EXPECT_EQ(send(padded(request, 9'000), {}, kVm1).at(0).bytes.size(), 60u);
  const Bytes discover = Packet()
                             .from(vm_mac(1), "0.0.0.0", 68)
                             .to(net::kBroadcastMac, "255.255.255.255", 67)
                             .payload(240)
                             .udp()
                             .frame();
  send(padded(discover, 65'557), {}, kUplink);
  EXPECT_THAT(bed.take_punted(), ::testing::ElementsAre(discover));
}

TEST_F(ClaimsOnTheWay, WhatIsSwitchedIsNoLongerThanTheNetworksMtu) {
  EXPECT_THAT(send(padded(to_vm2().udp().frame(), 1'514), {}, kVm2), SizeIs(1));
  EXPECT_THAT(send(padded(to_vm2().udp().frame(), 1'515), {}, kVm2), SizeIs(0));
  EXPECT_THAT(send(padded(to_vm2().udp().frame(), 65'557), {}, kVm2), SizeIs(0));
  EXPECT_EQ(bed.dropped(DropReason::TooBig), 2u);
  EXPECT_THAT(send(segment(to_vm2(), 9'000), in_segments(1'460), kVm2), SizeIs(7));
  EXPECT_THAT(send(segment(to_vm2(), 9'000), in_segments(1'461), kVm2), SizeIs(0));
  give(kVm2, {.checksums = true, .tcp4_segments = true});
  EXPECT_THAT(send(segment(to_vm2(), 9'000), in_segments(1'460), kVm2), SizeIs(1));
  EXPECT_THAT(send(segment(to_vm2(), 9'000), in_segments(1'461), kVm2), SizeIs(0));
  EXPECT_EQ(bed.dropped(DropReason::TooBig), 4u);
}

TEST_F(ClaimsOnTheWay, TagsAreNotCountedForTheMtu) {
  const auto tagged = [](std::size_t length, std::size_t tags) {
    return with_tags(padded(to_vm2().udp().frame(), length), tags);
  };
  EXPECT_THAT(send(tagged(1'514, 1), {}, kVm2), SizeIs(1));
  EXPECT_THAT(send(tagged(1'514, 2), {}, kVm2), SizeIs(1));
  EXPECT_THAT(send(tagged(1'515, 1), {}, kVm2), SizeIs(0));
  EXPECT_THAT(send(tagged(1'514, 3), {}, kVm2), SizeIs(0));
}

TEST(Claims, ASuperFrameIsOneBehindUpToFiveTags) {
  for (std::size_t tags = 0; tags < 8; ++tags) {
    const Bytes frame = with_tags(segment(to_server(), 9'000), tags);
    rte_mbuf* buffer = buffer_of(frame);
    dataplane::mark_unfinished(buffer, behind_tags(in_segments(1448), tags));
    EXPECT_EQ(what_became_of(buffer), tags <= 5 ? Becomes::SuperFrame : Becomes::Refused) << tags;
    EXPECT_EQ(buffer->pkt_len, 9'054 + tags * kTag);
    rte_pktmbuf_free(buffer);
  }
}

TEST_F(ClaimsOnTheWay, SegmentsHaveTheTagsOfTheirSuperFrame) {
  const auto sent = send(with_tags(segment(to_vm2(), 9'000), 2), behind_tags(in_segments(1'448), 2), kVm2);
  ASSERT_THAT(sent, SizeIs(7));
  for (const SentFrame& each : sent) {
    Bytes untagged = each.bytes;
    EXPECT_EQ(untagged[12], std::byte{0x81});
    EXPECT_EQ(untagged[16], std::byte{0x81});
    untagged.erase(untagged.begin() + 12, untagged.begin() + 20);
    EXPECT_TRUE(has_good_checksums(untagged));
  }
}

TEST_F(ClaimsOnTheWay, ADeviceGetsNoMoreBuffersThanItTakes) {
  give(kUplink, {.checksums = true, .tcp4_segments = true, .most_buffers = 1});
  bed.put(kVm1, buffer_of(to_server().payload(1'400).udp().frame(), 300));
  bed.run();
  EXPECT_THAT(bed.take_sent(kUplink), SizeIs(1));
  EXPECT_EQ(bed.most_buffers_sent(), 1u);
  EXPECT_THAT(send(segment(to_server(), 9'000), in_segments(1'448), kUplink), SizeIs(7)) << "cut here";
  EXPECT_EQ(bed.most_buffers_sent(), 1u);
}

// As a driver does with what would stop its queue.
std::uint16_t refuse_segments_of_1000(void* /*queue*/, rte_mbuf** frames, std::uint16_t count) {
  for (std::uint16_t i = 0; i < count; ++i)
    if (frames[i]->tso_segsz == 1'000) return i;
  return count;
}

TEST_F(ClaimsOnTheWay, WhatADriverRefusesToSendIsDroppedAlone) {
  give(kUplink, {.checksums = true, .tcp4_segments = true});
  rte_eth_fp_ops[bed.device_of(kUplink)].tx_pkt_prepare = refuse_segments_of_1000;
  for (const std::uint16_t size : {500, 1'000, 600, 1'000}) {
    rte_mbuf* frame = buffer_of(segment(to_server(), 4'000));
    dataplane::mark_unfinished(frame, in_segments(size));
    bed.put(kVm1, frame);
  }
  bed.run();
  const auto sent = bed.take_sent(kUplink);
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(sent[0].segment_size, 500);
  EXPECT_EQ(sent[1].segment_size, 600);
  EXPECT_EQ(bed.dropped(DropReason::Offload), 2u);
}

TEST_F(ClaimsOnTheWay, SegmentsTooSmallForADeviceAreCutHere) {
  give(kUplink, {.checksums = true, .tcp4_segments = true, .least_segment = 256});
  EXPECT_THAT(send(segment(to_server(), 1'000), in_segments(256), kUplink), SizeIs(1));
  EXPECT_THAT(send(segment(to_server(), 1'000), in_segments(255), kUplink), SizeIs(4));
}

// All that a guest can say, of frames of all lengths, to whoever takes them.
TEST_F(ClaimsOnTheWay, WhateverAGuestSaysNothingLeavesThatIsTooLongOrLost) {
  std::mt19937 random(20261126);
  const auto one_of = [&](std::initializer_list<unsigned> values) {
    return values.begin()[random() % values.size()];
  };
  const Offloads all{.checksums = true, .tcp4_segments = true, .tcp6_segments = true};
  for (unsigned turn = 0; turn < 20'000; ++turn) {
    if (turn % 64 == 0) {
      give(kVm2, one_of({0, 1}) == 0 ? Offloads{} : all);
      give(kUplink, one_of({0, 1}) == 0 ? Offloads{} : all);
    }
    const std::size_t length =
        turn % 16 == 0 ? one_of({65'535, 65'536, 65'549, 65'550, 65'556, 65'557})
                       : one_of({34, 42, 54, 55, 60, 100, 309, 1'514, 1'515, 1'954, 3'000, 9'014});
    const bool to_a_vm = one_of({0, 1}) == 0;
    const Packet base = to_a_vm ? to_vm2() : to_server();
    Bytes bytes = one_of({0, 1, 2}) == 0   ? ipv6(one_of({0, 1}), 10)
                  : one_of({0, 1, 2}) == 0 ? Packet(base).payload(20).udp().frame()
                                           : segment(base, 20);
    bytes = padded(bytes, length);
    const bool is_ipv4 = bytes[12] == std::byte{0x08};
    if (is_ipv4 && length >= 34)
      bytes = with_total_length(bytes,
                                one_of({0, 20, 39, 40, 41, 60, 1'500, 1'501, 65'535,
                                        static_cast<unsigned>(std::min<std::size_t>(length - 14, 65'535)),
                                        static_cast<unsigned>(std::min<std::size_t>(length - 13, 65'535))}));
    const NetHeader header{
        .flags = static_cast<std::uint8_t>(one_of({0, 1, 1, 1, 2, 0xff})),
        .segmentation = static_cast<std::uint8_t>(one_of({0, 1, 1, 1, 1, 3, 4, 5, 0x81, 0xff})),
        .headers_length = static_cast<std::uint16_t>(one_of({0, 54, 65'535})),
        .segment_size = static_cast<std::uint16_t>(
            one_of({0, 1, 63, 64, 255, 256, 536, 1'448, 1'460, 1'461, 1'900, 9'000, 65'535})),
        .checksum_start = static_cast<std::uint16_t>(one_of({34, 34, 34, 54, 0, 33, 65'535})),
        .checksum_offset = static_cast<std::uint16_t>(one_of({16, 16, 6, 0, 65'535}))};
    rte_mbuf* frame = buffer_of(bytes);
    if ((header.flags | header.segmentation) != 0) dataplane::mark_unfinished(frame, header);
    bed.put(kVm1, frame);
    bed.run();
    for (const PortIndex port : {kUplink, kVm1, kVm2, kVm3}) {
      for (const SentFrame& sent : bed.take_sent(port)) {
        const bool is_cut = (sent.flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
        const std::size_t longest = is_cut ? sent.header_lengths[0] + sent.header_lengths[1] +
                                                 sent.header_lengths[2] + sent.segment_size
                                           : sent.bytes.size();
        ASSERT_LE(longest, 1'514u) << "turn " << turn << " to port " << port;
        ASSERT_FALSE(is_cut && sent.bytes.size() <= longest) << "nothing to cut, turn " << turn;
      }
    }
    bed.take_punted();
    bed.take_learned();
    ASSERT_TRUE(bed.is_balanced()) << "turn " << turn << ::testing::PrintToString(bed.counts());
    ASSERT_EQ(bed.free_buffers(), buffers_) << "turn " << turn;
  }
}

// ---- a port's share of its worker

TEST_F(ClaimsOnTheWay, APortWhoseFramesMakeMuchWorkWaitsForOthers) {
  using dataplane::kBurstSize;
  for (unsigned i = 0; i < 2 * kBurstSize; ++i) {
    rte_mbuf* frame = buffer_of(segment(to_server(), 16'000));
    dataplane::mark_unfinished(frame, in_segments(64));
    bed.put(kVm1, frame);
  }
  unsigned polls = 0;
  for (; bed.counts()["vm1.rx"] < 2 * kBurstSize && polls < 10'000; ++polls) {
    bed.put(kVm3, Packet().from(vm_mac(3), "192.168.122.12", 7).to(kRedMac, kServer, 80).udp().frame());
    bed.poll();
    ASSERT_EQ(bed.counts()["vm3.rx"], polls + 1) << "the other VM has its turn in every poll";
    bed.take(kUplink);
  }
  // The first burst's frames are of 250 segments each.
  EXPECT_GE(polls, kBurstSize * 250 / dataplane::FairShare::kPerPoll);
  EXPECT_GT(bed.worker(0).counters().receive_deferred.get(), 0u);
}

TEST_F(ClaimsOnTheWay, FloodsOfOnePortAreBoundedAndAnothersPass) {
  const auto shout = [&](std::uint8_t number, std::size_t payload) {
    return Packet()
        .from(vm_mac(number), "192.168.122.77", 1)
        .to(net::kBroadcastMac, "192.168.122.255", 9)
        .payload(payload)
        .udp()
        .frame();
  };
  for (unsigned i = 0; i < dataplane::kPortFloodsAtOnce + 100; ++i) {
    bed.exchange(kVm1, shout(1, 18));
    bed.take(kVm2);
    bed.take(kVm3);
  }
  EXPECT_EQ(bed.dropped(DropReason::FloodBudget), 100u);
  bed.exchange(kVm2, shout(2, 18));
  EXPECT_THAT(bed.take(kVm1), SizeIs(1));
  bed.pass(std::chrono::milliseconds(200));
  bed.exchange(kVm1, shout(1, 18));
  EXPECT_THAT(bed.take(kVm2), SizeIs(1)) << "the budget fills again";
}

}  // namespace
}  // namespace vmnat::test
