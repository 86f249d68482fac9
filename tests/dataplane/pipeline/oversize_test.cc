// SPDX-License-Identifier: Apache-2.0
// Frames above the egress MTU: cut when that is allowed, else refused with the MTU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fixture.h"
#include "tests/support/fragment_builder.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::Forward;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::WordTable;
using net::IcmpType;
using net::TcpHeader;
using net::to_string;
using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr std::uint16_t kDontFragment = 0x4000;

Packet outbound(std::size_t payload) {
  return Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 80).payload(payload);
}
Packet inbound(std::size_t payload) {
  return Packet().from(kRouterMac, kServer, 80).to(kUplinkMac, kExternal, 40000).payload(payload);
}
std::size_t ip_length(const Bytes& frame) {
  return frame.size() - 14;
}

class Oversize : public ::testing::Test {
 protected:
  void SetUp() override { bed.learn(kVm1, vm_mac(1)); }
  void TearDown() override { EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts()); }
  void set_mtu(std::uint16_t uplink, std::uint16_t red, std::uint16_t blue = 1500) {
    bed.change_state([&](ForwardingState& state) {
      state.uplinks[0].mtu = uplink;
      state.networks[0].mtu = red;
      state.networks[1].mtu = blue;
      state.smallest_mtu = std::min({red, blue, state.networks[2].mtu});
    });
  }
  Testbed bed;
};

TEST_F(Oversize, IsCutIntoPiecesThatAddUpToTheTranslatedDatagram) {
  struct Case {
    const char* says;
    std::uint16_t mtu;
    Bytes whole;
    std::size_t pieces;
  };
  const Case cases[] = {
      {"one byte too much", 1500, outbound(1473).udp().frame(), 2},
      {"as much as two take", 1500, outbound(2 * 1480 - 8).udp().frame(), 2},
      {"a last piece that need not be a multiple of eight", 1001, outbound(976 + 981 - 8).udp().frame(), 2},
      {"of several buffers", 1500, outbound(7000).udp().frame(), 5},
      {"TCP", 1400, outbound(3000).tcp(TcpHeader::kSyn).frame(), 3},
      {"ping", 1400, outbound(3000).icmp_echo(IcmpType::EchoRequest, 5).frame(), 3},
      {"no ports", 1400, outbound(3000).protocol(47).frame(), 3},
      {"the smallest MTU, the largest datagram that fits a burst and more", 68,
       outbound(48 * 40 - 8).udp().frame(), 40}};
  const std::size_t buffers = bed.free_buffers();
  for (const Case& c : cases) {
    SCOPED_TRACE(c.says);
    set_mtu(c.mtu, 1500);
    const auto made = bed.counts()["generated"];
    bed.exchange(kVm1, c.whole);
    const std::vector<Bytes> pieces = bed.take(kUplink);
    EXPECT_EQ(pieces.size(), c.pieces);
    EXPECT_EQ(bed.counts()["generated"] - made, c.pieces - 1);
    for (const Bytes& piece : pieces) {
      EXPECT_LE(ip_length(piece), c.mtu);
      EXPECT_NE(id_of(piece), 0x4242) << "fragmented datagrams leave with a number of ours";
      EXPECT_EQ(net::view<net::EthernetHeader>(piece)->destination, kRouterMac);
      EXPECT_EQ(net::view<net::Ipv4Header>(piece, 14)->ttl, 63);
    }
    const auto whole = joined(pieces);
    ASSERT_TRUE(whole);
    EXPECT_EQ(to_string(net::view<net::Ipv4Header>(*whole, 14)->source), kExternal);
    EXPECT_TRUE(has_good_checksums(*whole));
    EXPECT_TRUE(std::equal(c.whole.end() - 1000, c.whole.end(), whole->end() - 1000));
  }
  EXPECT_EQ(bed.free_buffers(), buffers);
}

TEST_F(Oversize, KeepsTheOrderOfWhatLeaves) {
  bed.put(kVm1, outbound(11).udp().frame());
  bed.put(kVm1, outbound(1473).udp().frame());
  bed.put(kVm1, outbound(22).udp().frame());
  bed.run();
  std::vector<std::size_t> sizes;
  for (const Bytes& sent : bed.take(kUplink)) sizes.push_back(payload_size(sent));
  EXPECT_THAT(sizes, ::testing::ElementsAre(19, 1480, 1, 30));
  EXPECT_THAT(bed.counts(),
              UnorderedElementsAre(Pair("vm1.rx", 3), Pair("uplink.tx", 4), Pair("generated", 1)));
}

TEST_F(Oversize, CutsFragmentsIntoSmallerOnesOfTheSameDatagram) {
  set_mtu(600, 1500);
  const Bytes whole = outbound(4000).udp().frame();
  auto fragments = cut(whole, 1480);
  std::ranges::reverse(fragments);
  for (const Bytes& fragment : fragments) bed.put(kVm1, fragment);
  bed.run();
  const std::vector<Bytes> pieces = bed.take(kUplink);
  EXPECT_THAT(pieces, SizeIs(3 + 3 + 2));
  const auto sent = joined(pieces);
  ASSERT_TRUE(sent);
  EXPECT_TRUE(has_good_checksums(*sent));
  EXPECT_EQ(to_string(source_of(*sent)), "203.0.113.2:40000");
}

TEST_F(Oversize, CopiesIntoLaterPiecesOnlyTheOptionsThatAreToBeCopied) {
  // RFC 791: router alert (148) is copied, record route (7) and no-operation (1) are not.
  const Bytes whole = outbound(2000).udp().options({1, 7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0}).frame();
  bed.exchange(kVm1, whole);
  const std::vector<Bytes> pieces = bed.take(kUplink);
  ASSERT_THAT(pieces, SizeIs(2));
  EXPECT_EQ(net::view<net::Ipv4Header>(pieces[0], 14)->header_length(), 32u);
  EXPECT_EQ(net::view<net::Ipv4Header>(pieces[1], 14)->header_length(), 24u);
  EXPECT_EQ(Bytes(pieces[1].begin() + 34, pieces[1].begin() + 38),
            Bytes(whole.begin() + 42, whole.begin() + 46));
  const auto sent = joined(pieces);
  ASSERT_TRUE(sent);
  EXPECT_TRUE(has_good_checksums(*sent));
}

TEST_F(Oversize, IsCutForASmallerNetworkOnTheWayIn) {
  bed.exchange(kVm1, outbound(18).udp().frame());
  bed.take(kUplink);
  set_mtu(1500, 1280);
  for (const bool is_fragmented : {false, true}) {
    const Bytes whole = inbound(1472).udp().frame();
    if (is_fragmented)
      for (const Bytes& fragment : cut(whole, 1472)) bed.put(kUplink, fragment);
    else
      bed.put(kUplink, whole);
    bed.run();
    const std::vector<Bytes> pieces = bed.take(kVm1);
    EXPECT_THAT(pieces, SizeIs(is_fragmented ? 3 : 2));
    for (const Bytes& piece : pieces) {
      EXPECT_LE(ip_length(piece), 1280u);
      EXPECT_EQ(id_of(piece), id_of(whole));
      EXPECT_EQ(net::view<net::EthernetHeader>(piece)->destination, vm_mac(1));
    }
    const auto received = joined(pieces);
    ASSERT_TRUE(received);
    EXPECT_EQ(to_string(destination_of(*received)), "192.168.122.10:40000");
    EXPECT_TRUE(has_good_checksums(*received));
  }
}

TEST_F(Oversize, ThatMayNotBeCutForASmallerNetworkIsRefusedWithItsMtu) {
  bed.exchange(kVm1, outbound(18).udp().frame());
  bed.take(kUplink);
  set_mtu(1500, 1280, 1000);
  const Bytes whole = inbound(1253).udp().fragment(kDontFragment).frame();
  bed.exchange(kUplink, whole);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
  const Bytes error = only(bed.take(kUplink));
  const auto& icmp = *net::view<net::IcmpHeader>(error, 34);
  EXPECT_EQ(icmp.type, IcmpType::DestinationUnreachable);
  EXPECT_EQ(icmp.code, 4);
  EXPECT_EQ(icmp.sequence.host(), 1280) << "not the smallest of all networks";
  EXPECT_EQ(to_string(net::view<net::Ipv4Header>(error, 14)->source), kExternal);
  EXPECT_TRUE(has_good_checksums(error));
  EXPECT_EQ(bed.dropped(DropReason::TooBig), 1u);
  bed.exchange(kUplink, inbound(1252).udp().fragment(kDontFragment).frame());
  EXPECT_THAT(bed.take(kVm1), SizeIs(1)) << "1280 bytes fit";
}

TEST_F(Oversize, FirstFragmentThatMayNotBeCutIsToldAboutAndLaterOnesAreNot) {
  set_mtu(1000, 1500);
  for (const Bytes& fragment : cut(outbound(3100).udp().fragment(kDontFragment).frame(), 1480))
    bed.exchange(kVm1, fragment);
  EXPECT_THAT(bed.take(kVm1), SizeIs(1));
  EXPECT_THAT(bed.take(kUplink), IsEmpty())
      << "refused before it opened a session, the small last one with it";
  EXPECT_EQ(bed.dropped(DropReason::TooBig), 2u);
  EXPECT_EQ(bed.dropped(DropReason::FragmentRefused), 1u);
}

// vm1 has forwarded UDP port 5353 of the external address; vm4, of another network, sends to it.
TEST_F(Oversize, TurnsRoundInPiecesWhichTheReceiversNetworkMayCutFurther) {
  set_mtu(1400, 1000);
  bed.learn(kVm4, vm_mac(4));
  bed.change_state([](ForwardingState& state) {
    const net::Endpoint external{net::parse_ipv4(kExternal).value(), net::L4Port::from_host(5353)};
    const net::Endpoint internal{net::parse_ipv4(kVm1Address).value(), net::L4Port::from_host(53)};
    state.forwards =
        WordTable<Forward>({{ForwardingState::forward_word(external, net::Protocol::Udp), {.to = internal}}});
    state.networks[0].hosts =
        WordTable<InsideHost>({{internal.address.raw(), {.mac = vm_mac(1), .port = kVm1}}});
  });
  const Bytes whole = Packet()
                          .from(vm_mac(4), "192.168.5.10", 6000)
                          .to(kBlueMac, kExternal, 5353)
                          .payload(4000)
                          .udp()
                          .frame();
  auto fragments = cut(whole, 1480);
  std::ranges::reverse(fragments);
  for (const Bytes& fragment : fragments) bed.put(kVm4, fragment);
  bed.run();
  const std::vector<Bytes> pieces = bed.take(kVm1);
  for (const Bytes& piece : pieces) EXPECT_LE(ip_length(piece), 1000u);
  const auto received = joined(pieces);
  ASSERT_TRUE(received);
  EXPECT_EQ(to_string(source_of(*received)), "203.0.113.2:6000");
  EXPECT_EQ(to_string(destination_of(*received)), "192.168.122.10:53");
  EXPECT_TRUE(has_good_checksums(*received));
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
}

}  // namespace
}  // namespace vmnat::test
