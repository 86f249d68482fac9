// SPDX-License-Identifier: Apache-2.0
// The link layer: isolated ports, and frames that are switched and never routed: IPv6, VLAN, groups.
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/tags.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using net::ArpOperation;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr net::MacAddr kAllNodes{{0x33, 0x33, 0, 0, 0, 1}};

Bytes between(net::MacAddr to) {
  return Packet().from(vm_mac(1), kVm1Address, 1000).to(to, kVm2Address, 2000).udp().frame();
}
Bytes from_outside(net::MacAddr to) {
  return Packet().from(kRouterMac, kServer, 53).to(to, "203.0.113.2", 40000).udp().frame();
}
Bytes with_type(Bytes frame, unsigned type) {
  frame[12] = static_cast<std::byte>(type >> 8);
  frame[13] = static_cast<std::byte>(type & 0xff);
  return frame;
}
Bytes ipv6(Bytes frame) {
  frame[14] = std::byte{0x60};
  return with_type(std::move(frame), 0x86dd);
}

class Switch : public ::testing::Test {
 protected:
  Switch() {
    bed.learn(kVm1, vm_mac(1));
    bed.learn(kVm2, vm_mac(2));
  }
  void isolate() { bed.isolate(0); }
  // vm1 and vm2 are in a group, vm3 in none.
  void group() {
    bed.change_state([](dataplane::ForwardingState& state) {
      for (const PortIndex port : {kVm1, kVm2}) state.ports[port].group = 2;
    });
  }
  void TearDown() override { EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts()); }
  Testbed bed;
};

TEST_F(Switch, IsolatedPortsGetNothingFromEachOther) {
  isolate();
  const Bytes frames[] = {
      between(vm_mac(2)),
      between(vm_mac(99)),
      between(net::kBroadcastMac),
      between({{0x01, 0, 0x5e, 0, 0, 0xfb}}),
      ipv6(between(kAllNodes)),
      ipv6(between(vm_mac(2))),
      tagged(between(vm_mac(2)), 7),
      arp(ArpOperation::Request, vm_mac(1), kVm1Address, {}, kVm2Address, net::kBroadcastMac),
      arp(ArpOperation::Reply, vm_mac(1), kVm1Address, vm_mac(2), kVm2Address, vm_mac(2))};
  for (const Bytes& frame : frames) bed.exchange(kVm1, frame);
  EXPECT_EQ(bed.counts(),
            (Counts{{"vm1.rx", std::size(frames)}, {"drop.isolated_ports", std::size(frames)}}));
}

TEST_F(Switch, IsolatedPortsReachTheGatewayItsDhcpAndTheOutside) {
  isolate();
  bed.exchange(kVm1,
               arp(ArpOperation::Request, vm_mac(1), kVm1Address, {}, "192.168.122.1", net::kBroadcastMac));
  bed.exchange(kVm1, Packet()
                         .from(vm_mac(1), kVm1Address)
                         .to(kRedMac, "192.168.122.1")
                         .icmp_echo(net::IcmpType::EchoRequest, 9)
                         .frame());
  EXPECT_EQ(bed.take(kVm1).size(), 2u);
  bed.exchange(
      kVm1,
      Packet().from(vm_mac(1), "0.0.0.0", 68).to(net::kBroadcastMac, "255.255.255.255", 67).udp().frame());
  EXPECT_EQ(bed.take_punted().size(), 1u);
  bed.exchange(kVm1, Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 53).udp().frame());
  EXPECT_EQ(bed.take(kUplink).size(), 1u);
  bed.exchange(kUplink, from_outside(kUplinkMac));
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
}

TEST_F(Switch, OfAGroupThePortsReachEachOtherAndNobodyElseByNoKindOfFrame) {
  group();
  bed.learn(kVm3, vm_mac(3));
  bed.exchange(kVm1, between(vm_mac(2)));
  bed.exchange(kVm1, ipv6(between(kAllNodes)));
  bed.exchange(kVm1, between(vm_mac(99)));
  const Bytes ask = arp(ArpOperation::Request, vm_mac(1), kVm1Address, {}, kVm2Address, net::kBroadcastMac);
  bed.exchange(kVm1, ask);
  EXPECT_THAT(bed.take(kVm2),
              ElementsAre(between(vm_mac(2)), ipv6(between(kAllNodes)), between(vm_mac(99)), ask));
  bed.exchange(kVm1, between(vm_mac(3)));
  EXPECT_THAT(bed.take(kVm3), IsEmpty());
  EXPECT_EQ(bed.dropped(dataplane::DropReason::IsolatedPorts), 1u);
  const Bytes from_third =
      Packet().from(vm_mac(3), "192.168.122.12", 1).to(net::kBroadcastMac, kVm1Address, 2).udp().frame();
  bed.exchange(kVm3, from_third);
  for (const PortIndex port : {kVm1, kVm2}) EXPECT_THAT(bed.take(port), IsEmpty());
  EXPECT_EQ(bed.dropped(dataplane::DropReason::IsolatedPorts), 2u) << "there was somebody to hear it";
}

TEST_F(Switch, AFloodWithinAGroupWhoseOtherPortIsDownSaysThatItIsIsolated) {
  group();
  bed.change_state([](dataplane::ForwardingState& state) { state.ports[kVm2].up = false; });
  bed.exchange(kVm1, between(net::kBroadcastMac));
  EXPECT_EQ(bed.counts(), (Counts{{"vm1.rx", 1}, {"drop.isolated_ports", 1}}));
}

TEST_F(Switch, NoWayRoundByTheGatewayWhosePortsAreIsolated) {
  isolate();
  bed.exchange(kVm1, between(kRedMac));
  EXPECT_EQ(bed.counts(), (Counts{{"vm1.rx", 1}, {"drop.destination_inside", 1}}));
}

TEST_F(Switch, OtherNetworksAreAsTheyWere) {
  bed.isolate(1);
  bed.exchange(kVm1, between(vm_mac(2)));
  EXPECT_THAT(bed.take(kVm2), ElementsAre(between(vm_mac(2))));
}

TEST_F(Switch, Ipv6IsSwitchedToItsMacAndFloodedToAGroupUntouched) {
  bed.exchange(kVm1, ipv6(between(vm_mac(2))));
  EXPECT_THAT(bed.take(kVm2), ElementsAre(ipv6(between(vm_mac(2)))));
  EXPECT_THAT(bed.take(kVm3), IsEmpty());
  bed.exchange(kVm1, ipv6(between(kAllNodes)));
  for (const PortIndex port : {kVm2, kVm3})
    EXPECT_THAT(bed.take(port), ElementsAre(ipv6(between(kAllNodes))));
  for (const PortIndex port : {kUplink, kVm4, kVm5}) EXPECT_THAT(bed.take(port), IsEmpty());
  EXPECT_EQ(bed.counts(), (Counts{{"vm1.rx", 2}, {"vm2.tx", 2}, {"vm3.tx", 1}, {"flood_copies", 1}}));
}

TEST_F(Switch, NeitherIpv6NorVlansAreRoutedNorComeInByTheUplink) {
  for (const net::MacAddr to : {kRedMac, kUplinkMac}) {
    const bool inside = to == kRedMac;
    bed.exchange(inside ? kVm1 : kUplink, ipv6(inside ? between(to) : from_outside(to)));
    bed.exchange(inside ? kVm1 : kUplink, tagged(inside ? between(to) : from_outside(to), 7));
  }
  for (const net::MacAddr group : {kAllNodes, net::kBroadcastMac})
    bed.exchange(kUplink, ipv6(from_outside(group)));
  EXPECT_EQ(bed.counts(),
            (Counts{{"vm1.rx", 2}, {"uplink.rx", 4}, {"drop.ether_type", 4}, {"drop.vlan_tagged", 2}}));
}

TEST_F(Switch, ATaggedFrameKeepsItsTagBetweenVms) {
  bed.exchange(kVm1, tagged(between(vm_mac(2)), 7));
  EXPECT_THAT(bed.take(kVm2), ElementsAre(tagged(between(vm_mac(2)), 7)));
}

TEST_F(Switch, WhatBridgesKeepToThemselvesCrossesFromNoPort) {
  bed.learn(kVm1, vm_mac(1));
  bed.change_state([](dataplane::ForwardingState& state) {
    state.ports[kVm1].usual_mac = vm_mac(1);
    state.ports[kVm1].usual_address = *net::parse_ipv4(kVm1Address);
  });
  unsigned frames = 0;
  for (std::uint8_t last = 0; last < 16; ++last) {
    const net::MacAddr group{{0x01, 0x80, 0xc2, 0, 0, last}};
    for (const Bytes& frame :
         {between(group), with_type(between(group), 0x88cc), with_type(between(group), 38),
          tagged(between(group), 0), ipv6(between(group))}) {
      bed.exchange(kVm1, frame);
      ++frames;
    }
  }
  bed.exchange(kVm1, with_type(between(vm_mac(2)), 0x8808));  // PAUSE to one station
  EXPECT_EQ(bed.counts(), (Counts{{"vm1.rx", frames + 1}, {"drop.reserved_group", frames + 1}}));
}

TEST_F(Switch, TheGroupsBehindThemAreFlooded) {
  const net::MacAddr gvrp{{0x01, 0x80, 0xc2, 0, 0, 0x21}};
  bed.exchange(kVm1, between(gvrp));
  EXPECT_THAT(bed.take(kVm2), ElementsAre(between(gvrp)));
}

TEST_F(Switch, NothingOfBridgesComesInByTheUplink) {
  for (std::uint8_t last = 0; last < 16; ++last)
    bed.exchange(kUplink, from_outside({{0x01, 0x80, 0xc2, 0, 0, last}}));
  bed.exchange(kUplink, with_type(from_outside({{0x01, 0x80, 0xc2, 0, 0, 0}}), 0x88cc));
  EXPECT_EQ(bed.counts(), (Counts{{"uplink.rx", 17}, {"drop.not_for_us", 16}, {"drop.ether_type", 1}}));
}

}  // namespace
}  // namespace vmnat::test
