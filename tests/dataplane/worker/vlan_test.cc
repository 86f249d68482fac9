// SPDX-License-Identifier: Apache-2.0
// Ports that are a VLAN of their device, or of one that they share: all is as for untagged ports, but for the tags on the
// wires.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

#include "tests/support/tags.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using net::ArpOperation;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint16_t vlan_of_port(PortIndex port) {
  return static_cast<std::uint16_t>(port == kUplink ? 4094 : 1 + port);
}

struct Given {
  const char* says;
  PortIndex by;
  Bytes frame;
};

// One after another, each with what those before have opened.
std::vector<Given> frames() {
  return {
      {"a VM's datagram", kVm1,
       Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 53).udp().frame()},
      {"the answer", kUplink,
       Packet().from(kRouterMac, kServer, 53).to(kUplinkMac, kExternal, 40000).udp().frame()},
      {"of another network", kVm4,
       Packet().from(vm_mac(4), "192.168.5.10", 7).to(kBlueMac, kServer, 7).udp().frame()},
      {"a VM asks for the gateway", kVm1,
       arp(ArpOperation::Request, vm_mac(1), kVm1Address, {}, "192.168.122.1", net::kBroadcastMac)},
      {"the router asks for us", kUplink,
       arp(ArpOperation::Request, kRouterMac, "203.0.113.1", {}, kExternal, net::kBroadcastMac)},
      {"to all VMs", kVm1,
       Packet().from(vm_mac(1), kVm1Address, 1).to(net::kBroadcastMac, "192.168.122.255", 2).udp().frame()},
      {"of a VLAN within, to all VMs", kVm1,
       tagged(Packet().from(vm_mac(1), kVm1Address, 1).to(net::kBroadcastMac, "10.0.0.255", 2).udp().frame(),
              7)},
      {"a lease is asked for", kVm2,
       Packet().from(vm_mac(2), "0.0.0.0", 68).to(net::kBroadcastMac, "255.255.255.255", 67).udp().frame()},
      {"with a TTL of 1", kVm1,
       Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 53).udp().ttl(1).frame()},
      {"larger than the MTU", kVm1,
       Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 53).udp().payload(1473).frame()},
      {"as large as it may be", kVm1,
       Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 53).udp().payload(1472).frame()}};
}

Testbed::Shape with_vlans() {
  Testbed::Shape shape;
  for (PortIndex port = 0; port < kPortCount; ++port) shape.vlans[port] = vlan_of_port(port);
  return shape;
}

TEST(PortVlan, AllIsAsWithoutButForTheTags) {
  Testbed plain, vlans(with_vlans());
  for (const Given& given : frames()) {
    plain.exchange(given.by, given.frame);
    vlans.exchange(given.by, tagged(given.frame, 0xa000u | vlan_of_port(given.by)));  // with a priority
    EXPECT_EQ(vlans.take_punted(), plain.take_punted()) << given.says;
    for (PortIndex port = 0; port < kPortCount; ++port) {
      std::vector<Bytes> expected = plain.take(port);
      for (Bytes& frame : expected) frame = tagged(frame, vlan_of_port(port));
      EXPECT_EQ(vlans.take(port), expected) << given.says << ", at port " << port;
    }
  }
  EXPECT_TRUE(vlans.is_balanced()) << ::testing::PrintToString(vlans.counts());
  EXPECT_EQ(vlans.dropped(DropReason::OtherVlan), 0u);
}

// What has left by the device, by VLAN, with the tags.
std::map<std::uint16_t, std::vector<Bytes>> sent_by_vlan(Testbed& trunk) {
  std::map<std::uint16_t, std::vector<Bytes>> sent;
  for (const Bytes& frame : trunk.take(kUplink)) {
    const auto high = std::to_integer<unsigned>(frame[kAddresses + 2]);
    const auto low = std::to_integer<unsigned>(frame[kAddresses + 3]);
    sent[static_cast<std::uint16_t>(high << 8 | low)].push_back(frame);
  }
  return sent;
}

Testbed::Shape on_a_trunk() {
  Testbed::Shape shape = with_vlans();
  shape.is_trunk = true;
  return shape;
}

TEST(Trunk, AllIsAsOnDevicesOfTheirOwn) {
  Testbed alone(with_vlans()), trunk(on_a_trunk());
  for (const Given& given : frames()) {
    const Bytes frame = tagged(given.frame, vlan_of_port(given.by));
    alone.exchange(given.by, frame);
    trunk.exchange(kUplink, frame);
    EXPECT_EQ(trunk.take_punted(), alone.take_punted()) << given.says;
    auto sent = sent_by_vlan(trunk);
    for (PortIndex port = 0; port < kPortCount; ++port)
      EXPECT_EQ(sent[vlan_of_port(port)], alone.take(port)) << given.says << ", at port " << port;
    EXPECT_EQ(sent.size(), kPortCount) << "of no other VLAN";
  }
  EXPECT_EQ(trunk.counts(), alone.counts());
  EXPECT_TRUE(trunk.is_balanced()) << ::testing::PrintToString(trunk.counts());
}

TEST(Trunk, FramesOfManyPortsThatComeTogetherAreEachTheirPorts) {
  Testbed trunk(on_a_trunk());
  constexpr unsigned each = 40;  // more than bursts hold
  for (unsigned i = 0; i < each; ++i) {
    const auto source = static_cast<std::uint16_t>(1000 + i);
    trunk.put(kUplink,
              tagged(Packet().from(vm_mac(1), kVm1Address, source).to(kRedMac, kServer, 53).udp().frame(),
                     vlan_of_port(kVm1)));
    trunk.put(kUplink,
              tagged(Packet().from(vm_mac(4), "192.168.5.10", source).to(kBlueMac, kServer, 53).udp().frame(),
                     vlan_of_port(kVm4)));
  }
  trunk.run();
  Counts counts = trunk.counts();
  EXPECT_EQ(counts["vm1.rx"], each);
  EXPECT_EQ(counts["vm4.rx"], each);
  EXPECT_EQ(counts["uplink.tx"], 2 * each);
  EXPECT_THAT(sent_by_vlan(trunk)[vlan_of_port(kUplink)], SizeIs(2 * each));
  EXPECT_TRUE(trunk.is_balanced()) << ::testing::PrintToString(counts);
}

TEST(Trunk, FramesOfNobodysVlanAndOfNoneAreDroppedOnce) {
  Testbed trunk(on_a_trunk());
  const Bytes frame = frames()[0].frame;
  for (const Bytes& other : {frame, tagged(frame, 0), tagged(frame, 999)}) trunk.exchange(kUplink, other);
  EXPECT_EQ(trunk.dropped(DropReason::OtherVlan), 3u);
  EXPECT_THAT(trunk.take(kUplink), IsEmpty());
  EXPECT_TRUE(trunk.is_balanced());
}

TEST(PortVlan, FramesOfOtherVlansAndOfNoneEndAtOnce) {
  Testbed bed(with_vlans());
  const Bytes frame = frames()[0].frame;
  for (const Bytes& other : {frame, tagged(frame, 0), tagged(frame, vlan_of_port(kVm2)),
                             tagged(tagged(frame, vlan_of_port(kVm1)), 9)})
    bed.exchange(kVm1, other);
  EXPECT_EQ(bed.dropped(DropReason::OtherVlan), 4u);
  for (PortIndex port = 0; port < kPortCount; ++port) EXPECT_THAT(bed.take(port), IsEmpty()) << port;
  EXPECT_THAT(bed.take_punted(), IsEmpty());
  EXPECT_TRUE(bed.is_balanced());
}

TEST(PortVlan, ATagBesideTheFrameIsOneInIt) {
  Testbed bed(with_vlans());
  for (const std::uint16_t vlan : {vlan_of_port(kVm1), vlan_of_port(kVm2)}) {
    rte_mbuf* const frame = buffer_of(frames()[0].frame);
    frame->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    frame->vlan_tci = vlan;
    bed.put(kVm1, frame);
    bed.run();
  }
  EXPECT_THAT(bed.take(kUplink), SizeIs(1));
  EXPECT_EQ(bed.dropped(DropReason::OtherVlan), 1u);
}

TEST(PortVlan, ATagOfServiceVlansIsOneToo) {
  Testbed bed(with_vlans());
  bed.exchange(kVm1, tagged(frames()[0].frame, vlan_of_port(kVm1), 0x88a8));
  EXPECT_THAT(bed.take(kUplink), SizeIs(1));
}

// What is left for the device to do lies four bytes further on.
TEST(PortVlan, UnfinishedFramesKeepTheirOffsets) {
  Testbed plain, vlans(with_vlans());
  for (Testbed* bed : {&plain, &vlans})
    bed->change_state([](dataplane::ForwardingState& state) {
      for (dataplane::Port& port : state.ports) port.offloads = {.checksums = true, .tcp4_segments = true};
    });
  const Bytes segment = Packet()
                            .from(vm_mac(1), kVm1Address, 5)
                            .to(kRedMac, kServer, 6)
                            .tcp(net::TcpHeader::kSyn)
                            .payload(900)
                            .frame();
  plain.put_unfinished(kVm1, segment, 0);
  vlans.put_unfinished(kVm1, tagged(segment, vlan_of_port(kVm1)), 0);
  plain.run();
  vlans.run();
  const auto without = plain.take_sent(kUplink), with = vlans.take_sent(kUplink);
  ASSERT_THAT(without, SizeIs(1));
  ASSERT_THAT(with, SizeIs(1));
  EXPECT_EQ(with[0].bytes, tagged(without[0].bytes, vlan_of_port(kUplink)));
  EXPECT_EQ(with[0].flags, without[0].flags);
  EXPECT_EQ(with[0].header_lengths[0], without[0].header_lengths[0] + 4);
  EXPECT_EQ(with[0].header_lengths[1], without[0].header_lengths[1]);
}

TEST(PortVlan, AFrameInNeedOfABufferThatIsNotThereIsDropped) {
  rte_mempool* const pool = make_packet_pool("vlan_few", 64);
  Testbed::Shape shape = with_vlans();
  shape.pool = pool;
  Testbed bed(shape);
  std::vector<rte_mbuf*> taken;
  rte_mbuf* const frame = buffer_of(tagged(frames()[0].frame, vlan_of_port(kVm1)), 2048, pool);
  rte_mbuf_refcnt_update(frame, 1);  // somebody else holds it: the tag needs a copy
  bed.put(kVm1, frame);
  while (rte_mbuf* const one = rte_pktmbuf_alloc(pool)) taken.push_back(one);
  bed.run();
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::NoBuffer), 1u);
  EXPECT_TRUE(bed.is_balanced());
  rte_pktmbuf_free(frame);
  for (rte_mbuf* const one : taken) rte_pktmbuf_free(one);
}

}  // namespace
}  // namespace vmnat::test
