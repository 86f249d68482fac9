// SPDX-License-Identifier: Apache-2.0
// The way to control under floods: whose frames come through, and what the others are told.
#include "dataplane/context/punt.h"

#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::NextHop;
using dataplane::PuntShares;
using dataplane::WordTable;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr PuntShares kShares = PuntShares::among(kPortCount);
constexpr std::chrono::milliseconds kTick{63};

Packet discover(PortIndex port) {
  return Packet()
      .from(vm_mac(static_cast<std::uint8_t>(port)), "0.0.0.0", 68)
      .to(net::kBroadcastMac, "255.255.255.255", 67)
      .payload(300)
      .udp();
}
Packet to_link(PortIndex port, const char* address, std::uint16_t source = 5000) {
  const std::string own = "192.168.122." + std::to_string(9 + port);
  return Packet().from(vm_mac(static_cast<std::uint8_t>(port)), own, source).to(kRedMac, address, 80).udp();
}
Bytes arp_reply(const char* sender, net::MacAddr mac) {
  return arp(net::ArpOperation::Reply, mac, sender, kUplinkMac, kExternal, kUplinkMac);
}

class Punt : public OnTestbed {
 protected:
  void flood(PortIndex port, const Bytes& frame, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      bed.put(port, frame);
      if (i % 16 == 15) bed.run();
    }
    bed.run();
  }
  std::uint64_t refused() { return bed.dropped(DropReason::PuntBudget); }
};

TEST_F(Punt, AVmThatFloodsDhcpLeavesTheOthersTheirs) {
  flood(kVm1, discover(1).frame(), 3000);
  EXPECT_THAT(bed.take_punted(), SizeIs(kShares.dhcp));
  EXPECT_EQ(refused(), 3000 - kShares.dhcp);
  bed.exchange(kVm2, discover(2).frame());
  EXPECT_THAT(bed.take_punted(), ElementsAre(discover(2).frame()));
  EXPECT_EQ(bed.dropped(DropReason::PuntFull), 0u);
}

TEST_F(Punt, ASegmentHasMoreOfDhcpThanAVm) {
  bed.change_state([](dataplane::ForwardingState& state) { state.ports[kVm1].is_segment = true; });
  flood(kVm1, discover(1).frame(), 2000);
  EXPECT_THAT(bed.take_punted(), SizeIs(kShares.segment_dhcp));
}

TEST_F(Punt, ABudgetIsFullAgainAfterATick) {
  for (int tick = 0; tick < 3; ++tick) {
    flood(kVm1, discover(1).frame(), 2 * kShares.dhcp);
    EXPECT_THAT(bed.take_punted(), SizeIs(kShares.dhcp));
    bed.pass(kTick);
  }
}

TEST_F(Punt, FloodsOfAllVmsLeaveTheRoutersArpRepliesRoom) {
  for (PortIndex port = kVm1; port <= kVm3; ++port) {
    flood(port, discover(port).frame(), 300);
    for (int host = 100; host < 200; ++host)
      flood(port, to_link(port, ("203.0.113." + std::to_string(host)).c_str()).frame(), 3);
  }
  const Bytes reply = arp_reply("203.0.113.1", kRouterMac);
  bed.exchange(kUplink, reply);
  EXPECT_EQ(bed.take_punted().front(), reply) << "and comes first";
  EXPECT_EQ(bed.dropped(DropReason::PuntFull), 0u) << "all budgets together fit into the ring";
}

TEST_F(Punt, FloodsOfArpRepliesLeaveTheRoutersAndThoseOfAskedNeighboursRoom) {
  bed.change_state([](dataplane::ForwardingState& state) {
    state.uplinks[0].neighbors = WordTable<NextHop>(
        {{net::parse_ipv4("203.0.113.9")->raw(), {}}, {net::parse_ipv4("203.0.113.10")->raw(), {}}});
  });
  flood(kUplink, arp_reply("203.0.113.77", vm_mac(77)), 300);
  flood(kUplink, arp_reply("203.0.113.1", vm_mac(66)), 300);  // in the router's name
  flood(kUplink, arp_reply("203.0.113.9", vm_mac(9)), 300);   // asked, and shouting
  EXPECT_THAT(bed.take_punted(), SizeIs(3 * dataplane::kPuntsPerTarget));
  const Bytes router = arp_reply("203.0.113.1", kRouterMac), asked = arp_reply("203.0.113.10", vm_mac(10));
  bed.exchange(kUplink, router);
  bed.exchange(kUplink, asked);
  EXPECT_THAT(bed.take_punted(), ElementsAre(router, asked));
}

TEST_F(Punt, AFloodToOneUnresolvedHostLeavesTheSameVmsFirstFramesToOthersRoom) {
  flood(kVm1, to_link(1, "203.0.113.77").frame(), 1000);
  EXPECT_THAT(bed.take_punted(), SizeIs(dataplane::kPuntsPerTarget));
  bed.exchange(kVm1, to_link(1, "203.0.113.78").frame());
  bed.exchange(kVm2, to_link(2, "203.0.113.77").frame());
  EXPECT_THAT(bed.take_punted(), SizeIs(2)) << "another host, and another VM's to the same one";
}

TEST_F(Punt, AnUnresolvedRouterCostsEachVmItsOwnShare) {
  bed.change_state([](dataplane::ForwardingState& state) { state.uplinks[0].gateway_mac = {}; });
  for (unsigned i = 0; i < 200; ++i)  // one next hop, whatever the remotes are
    flood(kVm1, to_link(1, ("198.51.100." + std::to_string(i)).c_str()).frame(), 1);
  bed.exchange(kVm2, to_link(2, kServer).frame());
  EXPECT_THAT(bed.take_punted(), SizeIs(dataplane::kPuntsPerTarget + 1));
}

TEST_F(Punt, AScanOfTheLinkLeavesOtherVmsTheirShare) {
  for (unsigned i = 10; i < 250; ++i)
    flood(kVm1, to_link(1, ("203.0.113." + std::to_string(i)).c_str()).frame(), 1);
  EXPECT_THAT(bed.take_punted(), SizeIs(kShares.unresolved));
  bed.exchange(kVm2, to_link(2, "203.0.113.200").frame());
  EXPECT_THAT(bed.take_punted(), SizeIs(1));
}

TEST_F(Punt, WhatIsForASilentHostIsNotPuntedAndItsSenderIsTold) {
  bed.exchange(kVm1, to_link(1, "203.0.113.77").frame());
  EXPECT_THAT(bed.take_punted(), SizeIs(1));
  bed.change_state([](dataplane::ForwardingState& state) {
    state.uplinks[0].neighbors =
        WordTable<NextHop>({{net::parse_ipv4("203.0.113.77")->raw(), {.is_silent = true}}});
  });
  for (const std::uint16_t port : {5000, 5001}) {  // the first has a session
    bed.exchange(kVm1, to_link(1, "203.0.113.77", port).frame());
    const Bytes error = only(bed.take(kVm1));
    EXPECT_EQ(icmp(error).type, net::IcmpType::DestinationUnreachable);
    EXPECT_EQ(icmp(error).code, 1) << "host unreachable";
    EXPECT_EQ(quote_in(error), quoted(to_link(1, "203.0.113.77", port).frame(), 2000)) << "as the VM sent it";
  }
  EXPECT_THAT(bed.take_punted(), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::NeighborUnresolved), 2u);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 1u) << "no session was opened for it";
}

TEST_F(Punt, FramesLongerThanABufferAndSuperFramesAreNotPunted) {
  bed.put(kVm1, discover(1).payload(5000).frame());  // in three buffers
  bed.run();
  const Bytes tcp = Packet()
                        .from(vm_mac(1), kVm1Address, 5000)
                        .to(kRedMac, "203.0.113.77", 80)
                        .tcp(net::TcpHeader::kSyn)
                        .payload(1200)
                        .frame();
  bed.put_unfinished(kVm1, tcp, 400);
  bed.run();
  EXPECT_THAT(bed.take_punted(), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::PuntSize), 2u);
}

TEST_F(Punt, AVmThatMakesUpMacsLeavesTheSwitchTheOthers) {
  for (unsigned i = 0; i < 600; ++i)
    flood(kVm1,
          Packet()
              .from({{0x02, 1, 0, 0, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)}},
                    "192.168.122.99")
              .to(kRedMac, "192.168.122.1")
              .icmp_echo(net::IcmpType::EchoRequest, 1)
              .frame(),
          1);
  bed.exchange(kVm2, to_link(2, kServer).frame());
  const auto learned = bed.take_learned();
  EXPECT_THAT(learned, SizeIs(dataplane::kLearnedMacs + 1));
  EXPECT_EQ(learned.back().port, kVm2);
  EXPECT_EQ(bed.worker(0).counters().learn_missed.get(), 600 - dataplane::kLearnedMacs);
}

TEST(PuntShares, OfAllPortsTogetherFitIntoARingOfSomeThousandBuffers) {
  for (std::size_t ports = 2; ports <= 256; ++ports) {
    const PuntShares shares = PuntShares::among(ports);
    EXPECT_LE(shares.sum(ports, 0), 6144u) << ports;
    EXPECT_LE(shares.sum(ports, ports), 24'576u) << ports;
    EXPECT_GE(shares.dhcp * 16, 192u) << "a second, " << ports << " ports";
    EXPECT_GE(shares.segment_dhcp * 16, 1024u) << "what a segment may have by default";
    EXPECT_GE(shares.arp, 6u);
    EXPECT_GE(shares.unresolved, 6u);
  }
}

TEST(FrameRing, HoldsFramesOfManyBuffersOnlyWhileItHoldsFewFrames) {
  packet_pool();
  rte_ring* ring = rte_ring_create("chains", 1024, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  ASSERT_NE(ring, nullptr);
  dataplane::FrameRing frames(ring);
  const Bytes chain(9000), single(60);
  unsigned chains = 0;
  rte_mbuf* refused = buffer_of(chain);
  while (frames.push(refused)) {
    ++chains;
    refused = buffer_of(chain);
  }
  EXPECT_EQ(chains, 64u);
  rte_mbuf* one = buffer_of(single);
  EXPECT_TRUE(frames.push(one)) << "frames of one buffer go on";
  rte_mbuf* frame = nullptr;
  ASSERT_EQ(frames.pop(&frame, 1), 1u);
  rte_pktmbuf_free(frame);
  ASSERT_EQ(frames.pop(&frame, 1), 1u);
  rte_pktmbuf_free(frame);
  EXPECT_TRUE(frames.push(refused)) << "there is room again";
  while (frames.pop(&frame, 1) == 1) rte_pktmbuf_free(frame);
  rte_ring_free(ring);
}

}  // namespace
}  // namespace vmnat::test
