// SPDX-License-Identifier: Apache-2.0
// GRO: what is put together for a guest that takes super-frames, and what is not. A super-frame that is cut
// by the RFCs' rules, by code of the test's own, gives the segments back that came in.
#include <algorithm>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

#include "tests/support/session_views.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::ForwardingState;
using dataplane::Offloads;
using net::Ipv4Header;
using net::TcpHeader;
using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr std::uint16_t kDontFragment = 0x4000;
constexpr std::uint16_t kFlow = 40000, kOtherFlow = 40001;  // ports of the VM, kept outside
constexpr std::uint32_t kStart = 0xffff'f000;               // sequence numbers wrap on the way
constexpr std::uint8_t kAck = TcpHeader::kAck, kPsh = TcpHeader::kPsh, kCwr = 0x80;
constexpr Offloads kAll{.checksums = true, .tcp4_segments = true, .tcp6_segments = true};

// The byte of a stream at each place, so that what is lost, doubled or misplaced shows.
Bytes stream(std::uint32_t begin, std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((begin + i) * 0x9e3779b1u >> 24);
  return bytes;
}

Bytes syn_from_vm1(std::uint16_t flow) {
  return Packet()
      .from(vm_mac(1), "192.168.122.10", flow)
      .to(kRedMac, kServer, 80)
      .tcp(TcpHeader::kSyn)
      .frame();
}

// Bytes [offset, offset + size) of what the server sends.
Packet segment(std::uint32_t offset, std::size_t size, std::uint16_t flow = kFlow) {
  return Packet()
      .from(kRouterMac, kServer, 80)
      .to(kUplinkMac, kExternal, flow)
      .tcp(kAck)
      .sequence(kStart + offset)
      .acknowledgment(77)
      .fragment(kDontFragment)
      .payload(stream(offset, size));
}

// The same of what vm1 sends.
Packet outbound_segment(std::uint32_t offset, std::size_t size) {
  return Packet()
      .from(vm_mac(1), "192.168.122.10", kFlow)
      .to(kRedMac, kServer, 80)
      .tcp(kAck)
      .sequence(kStart + offset)
      .acknowledgment(77)
      .fragment(kDontFragment)
      .payload(stream(offset, size));
}

const Ipv4Header& ip_of(const Bytes& frame) {
  return *net::view<Ipv4Header>(frame, 14);
}
const TcpHeader& tcp_of(const Bytes& frame) {
  return *net::view<TcpHeader>(frame, 14 + ip_of(frame).header_length());
}
std::size_t headers_of(const Bytes& frame) {
  return 14 + ip_of(frame).header_length() + tcp_of(frame).header_length();
}
std::size_t payload_of(const Bytes& frame) {
  return 14u + ip_of(frame).total_length.host() - headers_of(frame);
}

// What a segment says to the guest: everything but its identification.
struct Said {
  std::string headers;
  Bytes payload;
  bool is_right = true;  // its checksum
  bool operator==(const Said&) const = default;
};
Said said(const Bytes& frame, std::size_t begin, std::size_t size) {
  const bool is_last = begin + size == payload_of(frame);
  const Ipv4Header& ip = ip_of(frame);
  const TcpHeader& tcp = tcp_of(frame);
  std::string text = describe(frame) + " tos " + std::to_string(ip.tos) + " fragment " +
                     std::to_string(ip.fragment.host()) + " sequence " +
                     std::to_string(static_cast<std::uint32_t>(tcp.sequence.host() + begin)) + " ack " +
                     std::to_string(tcp.acknowledgment.host()) + " flags " +
                     std::to_string(is_last ? tcp.flags : tcp.flags & ~kPsh) + " window " +
                     std::to_string(tcp.window.host()) + " urgent " + std::to_string(tcp.urgent.host());
  for (std::size_t at = 54; at < headers_of(frame); ++at)
    text += " " + std::to_string(static_cast<unsigned>(frame[at]));
  const auto from = frame.begin() + static_cast<std::ptrdiff_t>(headers_of(frame) + begin);
  return {text, Bytes(from, from + static_cast<std::ptrdiff_t>(size))};
}

// The segments that a sent frame stands for.
std::vector<Said> segments_of(const SentFrame& sent) {
  const std::size_t payload = payload_of(sent.bytes);
  const bool is_super = (sent.flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
  const std::size_t size = is_super ? sent.segment_size : payload;
  std::vector<Said> segments;
  std::size_t at = 0;
  do {
    segments.push_back(said(sent.bytes, at, std::min(size, payload - at)));
    segments.back().is_right = is_super || has_good_checksums(sent.bytes);
    at += size;
  } while (at < payload);
  return segments;
}

class Gro : public ::testing::Test {
 protected:
  Gro() {
    bed.learn(kVm1, vm_mac(1));
    offer(kAll);
    for (const std::uint16_t flow : {kFlow, kOtherFlow}) open(flow);
    buffers = bed.free_buffers();
  }
  void TearDown() override {
    EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
    for (const PortIndex port : {kVm1, kUplink}) bed.take(port);
    EXPECT_EQ(bed.free_buffers(), buffers);
  }
  void offer(Offloads offloads) {
    bed.change_state([=](ForwardingState& state) { state.ports[kVm1].offloads = offloads; });
  }
  void offer_outside(Offloads offloads) {
    bed.change_state([=](ForwardingState& state) { state.ports[kUplink].offloads = offloads; });
  }
  // In one burst, by vm1.
  void send(const std::vector<Packet>& packets) {
    for (const Packet& packet : packets) bed.put(kVm1, packet.frame());
    bed.run();
  }
  void open(std::uint16_t flow) {
    bed.exchange(kVm1, syn_from_vm1(flow));
    bed.take(kUplink);
  }
  // In one burst.
  std::vector<SentFrame> receive(const std::vector<Bytes>& frames) {
    for (const Bytes& frame : frames) bed.put(kUplink, frame);
    bed.run();
    std::vector<SentFrame> sent = bed.take_sent(kVm1);
    for (const SentFrame& one : sent) check(one);
    return sent;
  }
  std::vector<SentFrame> receive(const std::vector<Packet>& packets) {
    std::vector<Bytes> frames;
    for (const Packet& packet : packets) frames.push_back(packet.frame());
    return receive(frames);
  }
  // Payloads of what the guest gets for a burst.
  std::vector<std::size_t> received_sizes(const std::vector<Packet>& packets) {
    std::vector<std::size_t> sizes;
    for (const SentFrame& sent : receive(packets)) sizes.push_back(payload_of(sent.bytes));
    return sizes;
  }
  std::uint64_t merged() { return bed.counts()["segments.merged"]; }

  Testbed bed;
  std::size_t buffers = 0;

 private:
  static void check(const SentFrame& sent) {
    EXPECT_EQ(sent.bytes.size(), 14u + ip_of(sent.bytes).total_length.host());
    EXPECT_EQ(net::view<net::EthernetHeader>(sent.bytes)->destination, vm_mac(1));
    EXPECT_EQ(sent.flags & RTE_MBUF_F_RX_LRO, 0u) << "a mark of ours";
    if ((sent.flags & RTE_MBUF_F_TX_TCP_SEG) == 0) return;
    EXPECT_EQ(sent.flags & RTE_MBUF_F_TX_IPV4, RTE_MBUF_F_TX_IPV4);
    EXPECT_EQ(sent.header_lengths,
              (std::array<unsigned, 3>{14, 20, static_cast<unsigned>(headers_of(sent.bytes) - 34)}));
    EXPECT_GT(payload_of(sent.bytes), sent.segment_size);
  }
};

TEST_F(Gro, SegmentsOfABurstBecomeOneFrame) {
  const std::vector<Packet> packets{segment(0, 1448), segment(1448, 1448),
                                    segment(2896, 1000).tcp(kAck | kPsh)};
  const auto sent = receive(packets);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].segment_size, 1448);
  EXPECT_EQ(Bytes(sent[0].bytes.begin() + 54, sent[0].bytes.end()), stream(0, 3896));
  EXPECT_EQ(tcp_of(sent[0].bytes).sequence.host(), kStart);
  EXPECT_EQ(tcp_of(sent[0].bytes).flags, kAck | kPsh);
  EXPECT_EQ(net::to_string(destination_of(sent[0].bytes)), "192.168.122.10:40000");
  EXPECT_EQ(
      bed.counts(),
      (Counts{{"uplink.rx", 3}, {"vm1.rx", 2}, {"uplink.tx", 2}, {"vm1.tx", 1}, {"segments.merged", 2}}));
}

TEST_F(Gro, EachSegmentIsCountedForItsSession) {
  receive({segment(0, 1448), segment(1448, 1448), segment(2896, 1448)});
  const auto endpoint = [](const char* address, std::uint16_t port) {
    return net::Endpoint{*net::parse_ipv4(address), net::L4Port::from_host(port)};
  };
  const auto session =
      view_of(bed.worker(0).conntrack(),
              conntrack::FlowKey::of(endpoint(kExternal, kFlow), endpoint(kServer, 80), net::Protocol::Tcp));
  ASSERT_TRUE(session);
  EXPECT_EQ(session->packets_in, 3u);
  EXPECT_EQ(session->bytes_in, 3u * 1488);
}

TEST_F(Gro, NothingWaitsForTheNextBurst) {
  EXPECT_THAT(receive({segment(0, 1448)}), SizeIs(1));
  EXPECT_THAT(receive({segment(1448, 1448)}), SizeIs(1));
  EXPECT_EQ(merged(), 0u);
}

TEST_F(Gro, AGuestThatTakesNoSuperFramesGetsSegments) {
  offer({.checksums = true});
  EXPECT_THAT(receive({segment(0, 1448), segment(1448, 1448)}), SizeIs(2));
  EXPECT_EQ(merged(), 0u);
}

TEST_F(Gro, TwoFlowsOfOneBurstAreMergedEach) {
  std::vector<Packet> packets;
  for (std::uint32_t at = 0; at < 5; ++at) {
    packets.push_back(segment(at * 1000, 1000));
    packets.push_back(segment(at * 500, 500, kOtherFlow));
  }
  const auto sent = receive(packets);
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(destination_of(sent[0].bytes).port.host(), kFlow);
  EXPECT_EQ(destination_of(sent[1].bytes).port.host(), kOtherFlow);
  EXPECT_EQ(Bytes(sent[0].bytes.begin() + 54, sent[0].bytes.end()), stream(0, 5000));
  EXPECT_EQ(Bytes(sent[1].bytes.begin() + 54, sent[1].bytes.end()), stream(0, 2500));
}

TEST_F(Gro, OtherTrafficBetweenTheSegmentsIsNoMatter) {
  const Packet ping =
      Packet().from(kRouterMac, kServer).to(kUplinkMac, kExternal).icmp_echo(net::IcmpType::EchoRequest, 1);
  EXPECT_THAT(received_sizes({segment(0, 100), ping, segment(100, 100)}), ElementsAre(200));
}

// What comes after 0..999 in a burst, and the payloads of the frames that the guest gets.
struct Case {
  const char* says;
  std::vector<Packet> follow;
  std::vector<std::size_t> sizes;
};

std::vector<Case> cases() {
  const auto next = [] { return segment(1000, 1000); };
  const auto after = [] { return segment(2000, 1000); };
  const auto with_psh = [](Packet packet) { return packet.tcp(kAck | kPsh); };
  const std::vector<unsigned> stamp{1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 4};
  return {{"in sequence", {next(), after()}, {3000}},
          {"a gap", {after()}, {1000, 1000}},
          {"out of order, what is in order is merged",
           {after(), segment(3000, 1000), next()},
           {1000, 2000, 1000}},
          {"again", {segment(0, 1000), next()}, {1000, 2000}},
          {"overlapping", {segment(999, 1000)}, {1000, 1000}},
          {"a shorter one is the last", {segment(1000, 999), segment(1999, 1000)}, {1999, 1000}},
          {"a shorter one, and one as short", {segment(1000, 500), segment(1500, 500)}, {1500, 500}},
          {"a longer one", {segment(1000, 1001), segment(2001, 1001)}, {1000, 2002}},
          {"PSH is the last", {with_psh(next()), after()}, {2000, 1000}},
          {"another acknowledgment", {next().acknowledgment(78), after().acknowledgment(78)}, {1000, 2000}},
          {"another window", {next().window(8193)}, {1000, 1000}},
          {"an acknowledgment alone ends it", {segment(1000, 0), next(), after()}, {1000, 0, 2000}},
          {"FIN", {next().tcp(kAck | TcpHeader::kFin)}, {1000, 1000}},
          {"RST", {next().tcp(kAck | TcpHeader::kRst)}, {1000, 1000}},
          {"URG", {next().tcp(kAck | TcpHeader::kUrg)}, {1000, 1000}},
          {"SYN", {next().tcp(kAck | TcpHeader::kSyn)}, {1000, 1000}},
          {"no ACK", {next().tcp(0)}, {1000, 1000}},
          {"CWR stands alone", {next().tcp(kAck | kCwr), after().tcp(kAck | kCwr)}, {1000, 1000, 1000}},
          {"congestion experienced", {next().tos(3), after().tos(3)}, {1000, 2000}},
          {"another TOS", {next().tos(0x10)}, {1000, 1000}},
          {"another TTL", {next().ttl(63)}, {1000, 1000}},
          {"may be fragmented, other than the first", {next().fragment(0)}, {1000, 1000}},
          {"the first of fragments", {segment(1000, 996).fragment(0x2000)}, {1000, 996}},
          {"options of IPv4", {next().options(1)}, {1000, 1000}},
          {"options of TCP", {next().tcp_options(stamp), after().tcp_options(stamp)}, {1000, 2000}},
          {"any identification, where nothing may be fragmented",
           {next().identification(7), after().identification(0)},
           {3000}}};
}

TEST_F(Gro, MergesWhatCuttingGivesBack) {
  for (const Case& each : cases()) {
    SCOPED_TRACE(each.says);
    std::vector<Packet> packets{segment(0, 1000)};
    packets.insert(packets.end(), each.follow.begin(), each.follow.end());
    EXPECT_EQ(received_sizes(packets), each.sizes);
  }
}

TEST_F(Gro, PshAtTheBeginningBeginsNothing) {
  EXPECT_THAT(received_sizes({segment(0, 1000).tcp(kAck | kPsh), segment(1000, 1000)}),
              ElementsAre(1000, 1000));
}

TEST_F(Gro, TimeStampsMustBeTheSame) {
  const std::vector<unsigned> early{1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 4},
      late{1, 1, 8, 10, 0, 0, 0, 10, 0, 0, 0, 4};
  EXPECT_THAT(received_sizes({segment(0, 900).tcp_options(early), segment(900, 900).tcp_options(early),
                              segment(1800, 900).tcp_options(late), segment(2700, 900).tcp_options(late)}),
              ElementsAre(1800, 1800));
}

// Identifications of what may be fragmented count up in what a super-frame is cut into.
TEST_F(Gro, IdentificationsOfWhatMayBeFragmentedMustCountUp) {
  const auto numbered = [](std::uint32_t at, std::uint16_t number) {
    return segment(at, 1000).fragment(0).identification(number);
  };
  EXPECT_THAT(
      received_sizes({numbered(0, 0xfffe), numbered(1000, 0xffff), numbered(2000, 0), numbered(3000, 0)}),
      ElementsAre(3000, 1000));
}

TEST_F(Gro, AWrongChecksumIsPassedAloneAsItIs) {
  const auto wrong = [](std::uint32_t at) {
    return segment(at, 1000).frame([](Bytes& bytes) { bytes[500] ^= std::byte{1}; });
  };
  const auto right = [](std::uint32_t at) { return segment(at, 1000).frame(); };
  const std::vector<std::vector<Bytes>> bursts{{wrong(0), right(1000), right(2000)},
                                               {right(0), wrong(1000), right(2000)},
                                               {right(0), right(1000), wrong(2000)}};
  const std::vector<std::vector<bool>> is_good{{false, true}, {true, false, true}, {true, false}};
  for (std::size_t i = 0; i < bursts.size(); ++i) {
    const auto sent = receive(bursts[i]);
    ASSERT_THAT(sent, SizeIs(is_good[i].size()));
    for (std::size_t at = 0; at < sent.size(); ++at) {
      const bool is_super = (sent[at].flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
      EXPECT_EQ(is_super || has_good_checksums(sent[at].bytes), is_good[i][at]) << i << " " << at;
    }
  }
}

TEST_F(Gro, TinySegmentsStandAloneWithoutTheirPadding) {
  const auto padded = [](std::uint32_t at) {
    return segment(at, 2).frame([](Bytes& bytes) { bytes.resize(60); });
  };
  for (const Bytes& frame : {padded(0), padded(2)}) bed.put(kUplink, frame);
  bed.run();
  const auto sent = bed.take(kVm1);
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_THAT(sent[1], SizeIs(56));
  EXPECT_EQ(merged(), 0u);
}

// Several buffers a segment: testbed frames over 2 KB.
TEST_F(Gro, ASuperFrameIsNoLargerThanAPacketMayBe) {
  bed.change_state([](ForwardingState& state) {
    for (auto& network : state.networks) network.mtu = 9000;
    state.uplinks[0].mtu = 9000;
  });
  std::vector<Packet> packets;
  for (std::uint32_t at = 0; at < 9; ++at) packets.push_back(segment(at * 8960, 8960));
  const auto sent = receive(packets);
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(payload_of(sent[0].bytes), 7u * 8960);  // 8 are 71680
  EXPECT_EQ(payload_of(sent[1].bytes), 2u * 8960);
  EXPECT_EQ(Bytes(sent[0].bytes.begin() + 54, sent[0].bytes.end()), stream(0, 7 * 8960));
}

TEST_F(Gro, TheLargestPacketIsReachedToTheByte) {
  bed.change_state([](ForwardingState& state) { state.networks[0].mtu = 9000; });
  const std::uint32_t left = 65535 - 40 - 7 * 8960;
  for (const std::uint32_t last : {left, left + 1}) {
    std::vector<Packet> packets;
    for (std::uint32_t at = 0; at < 7; ++at) packets.push_back(segment(at * 8960, 8960));
    packets.push_back(segment(7 * 8960, last));
    EXPECT_THAT(receive(packets), SizeIs(last == left ? 1 : 2)) << last;
  }
}

TEST_F(Gro, WhatIsToBeCutIsNotMerged) {
  bed.change_state([](ForwardingState& state) { state.smallest_mtu = state.networks[0].mtu = 1000; });
  const auto sent =
      receive({segment(0, 960).fragment(0), segment(960, 960).fragment(0), segment(1920, 1000).fragment(0)});
  EXPECT_EQ(merged(), 0u);
  EXPECT_THAT(sent, SizeIs(4));
}

TEST_F(Gro, ANicGetsSegments) {
  Offloads nics = kAll;
  nics.prefers_segments = true;
  offer(nics);
  EXPECT_THAT(received_sizes({segment(0, 1448), segment(1448, 1448)}), ElementsAre(1448, 1448));
  offer_outside(nics);
  send({outbound_segment(0, 1448), outbound_segment(1448, 1448)});
  EXPECT_THAT(bed.take(kUplink), SizeIs(2));
  EXPECT_EQ(merged(), 0u);
}

TEST_F(Gro, AnUplinkThatTakesSuperFramesGetsThem) {
  offer_outside(kAll);
  send({outbound_segment(0, 1448), outbound_segment(1448, 1448), outbound_segment(2896, 100)});
  const std::vector<SentFrame> sent = bed.take_sent(kUplink);
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(sent[0].segment_size, 1448);
  EXPECT_EQ(Bytes(sent[0].bytes.begin() + 54, sent[0].bytes.end()), stream(0, 2996));
  EXPECT_EQ(ip_of(sent[0].bytes).source, net::Ipv4Addr::of(203, 0, 113, 2));
  EXPECT_EQ(merged(), 2u);
}

// They would be dropped while they wait for it, as super-frames are.
TEST_F(Gro, WhatWaitsForItsNextHopIsNotMerged) {
  offer_outside(kAll);
  bed.change_state([](ForwardingState& state) { state.uplinks[0].gateway_mac = {}; });
  send({outbound_segment(0, 1448), outbound_segment(1448, 1448)});
  EXPECT_EQ(merged(), 0u);
  EXPECT_THAT(bed.take_punted(), SizeIs(2));
}

// A checksum that is left to the device is that of the pseudo-header, and nothing to be judged.
TEST_F(Gro, PartialChecksumsAreMergedWithEachOtherAndWithWholeOnes) {
  offer(kAll);
  for (const bool is_first_partial : {true, false})
    for (const bool is_second_partial : {true, false}) {
      const std::uint32_t at = is_first_partial * 8000u + is_second_partial * 4000u;
      for (const auto& [offset, is_partial] :
           {std::pair{at, is_first_partial}, std::pair{at + 1448, is_second_partial}}) {
        Bytes frame = segment(offset, 1448).frame();
        if (!is_partial) {
          bed.put(kUplink, frame);
          continue;
        }
        frame[14 + 20 + 16] ^= std::byte{0x55};
        bed.put_unfinished(kUplink, frame, 0);
      }
      bed.run();
      const std::vector<SentFrame> sent = bed.take_sent(kVm1);
      ASSERT_THAT(sent, SizeIs(1)) << is_first_partial << is_second_partial;
      EXPECT_EQ(payload_of(sent[0].bytes), 2896u);
      EXPECT_NE(sent[0].flags & RTE_MBUF_F_TX_TCP_SEG, 0u);
    }
}

// Random bursts of several flows: what the guest can tell is as if nothing had been merged.
TEST_F(Gro, RandomBurstsAreWhatTheyWereBefore) {
  constexpr unsigned kFlows = 6;
  for (std::uint16_t flow = 0; flow < kFlows; ++flow) open(static_cast<std::uint16_t>(41000 + flow));
  std::mt19937 random(20);
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  std::array<std::uint32_t, kFlows> at{};
  for (unsigned round = 0; round < 2000; ++round) {
    const unsigned count = 1 + random() % 32, flows = 1 + random() % kFlows;
    const std::size_t size = 1 + random() % 1400;
    std::vector<Bytes> frames;
    for (unsigned i = 0; i < count; ++i) {
      const unsigned flow = random() % flows;
      const std::size_t length = one_in(20) ? 0 : one_in(8) ? random() % 1400 : size;
      if (one_in(20)) at[flow] += random() % 3;
      Packet packet = segment(at[flow], length, static_cast<std::uint16_t>(41000 + flow));
      at[flow] += static_cast<std::uint32_t>(length);
      packet.tcp(one_in(10)
                     ? static_cast<std::uint8_t>((kAck | random()) & (kAck | kPsh | kCwr | TcpHeader::kUrg))
                     : kAck);
      if (one_in(20)) packet.acknowledgment(random() % 3);
      if (one_in(20)) packet.tos(static_cast<std::uint8_t>(random() % 4));
      if (one_in(20)) packet.ttl(static_cast<std::uint8_t>(2 + random() % 3));
      if (one_in(20)) packet.window(static_cast<std::uint16_t>(random() % 3));
      if (one_in(20)) packet.fragment(0);
      if (one_in(10))
        packet.tcp_options({1, 1, 8, 10, 0, 0, 0, static_cast<unsigned>(random() % 2), 0, 0, 0, 1});
      frames.push_back(packet.frame());
      if (one_in(30)) frames.back()[frames.back().size() - 1] ^= std::byte{4};
    }
    // What each flow gets, once by itself, once merged.
    const auto received = [&](Offloads offloads) {
      offer(offloads);
      std::map<std::uint16_t, std::vector<Said>> by_flow;
      for (const SentFrame& sent : receive(frames))
        for (Said& one : segments_of(sent))
          by_flow[destination_of(sent.bytes).port.host()].push_back(std::move(one));
      return by_flow;
    };
    ASSERT_EQ(received({}), received(kAll)) << "round " << round;
  }
  EXPECT_GT(merged(), 7'000u);
}

// The worker that has the session merges; another one, with a newer state, transmits.
TEST(GroAcrossWorkers, AGuestThatTakesSuperFramesNoMoreGetsSegmentsAgain) {
  for (const bool still_takes : {true, false}) {
    Testbed bed(2);
    bed.learn(kVm1, vm_mac(1));
    bed.exchange(kVm1, syn_from_vm1(kFlow));
    const auto opened = bed.take(kUplink);
    ASSERT_THAT(opened, SizeIs(1));
    const std::uint16_t external = source_of(opened[0]).port.host();
    bed.change_state([](ForwardingState& state) {
      state.ports[kVm1].offloads = kAll;
      state.ports[kVm1].owner = 0;
    });
    for (std::uint32_t at = 0; at < 3; ++at) bed.put(kUplink, segment(at * 1000, 1000, external).frame());
    bed.poll();  // received, handed over, merged, handed over
    bed.change_state([=](ForwardingState& state) { state.ports[kVm1].offloads.tcp4_segments = still_takes; });
    bed.run();
    const auto sent = bed.take_sent(kVm1);
    Bytes content;
    for (const SentFrame& one : sent) {
      EXPECT_TRUE(still_takes || has_good_checksums(one.bytes));
      content.insert(content.end(), one.bytes.begin() + 54, one.bytes.end());
    }
    EXPECT_THAT(sent, SizeIs(still_takes ? 1 : 3));
    EXPECT_EQ(content, stream(0, 3000));
    EXPECT_EQ(bed.counts()["segments.merged"], 2u);
    EXPECT_EQ(bed.counts()["handoff"], 5u) << "a SYN out, three segments, one frame";
    EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
  }
}

}  // namespace
}  // namespace vmnat::test
