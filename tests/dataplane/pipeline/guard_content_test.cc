// SPDX-License-Identifier: Apache-2.0
// What a guarded VM may not be to its neighbours, in whatever it is wrapped: in somebody's name, their
// router, their DHCP server. One table of frames for a guarded port, a port without a guard, and who hears of
// it.
//
//   vm1 owns aa:..:01 and .10; vm3 has no guard; vm2 hears; the gateway is .1
#include <array>
#include <cstring>
#include <gtest/gtest.h>

#include "dataplane/frame/frame_reader.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::Guard;
using net::ArpOperation;
using Numbers = std::vector<unsigned>;

constexpr const char* kGateway = "192.168.122.1";
constexpr net::MacAddr kAllNodes{{0x33, 0x33, 0, 0, 0, 1}};
constexpr net::MacAddr kOwn = vm_mac(1), kOther = vm_mac(2);
constexpr DropReason kPasses = DropReason::kCount;

Numbers operator+(Numbers one, const Numbers& other) {
  one.insert(one.end(), other.begin(), other.end());
  return one;
}
Bytes operator+(Bytes one, const Bytes& other) {
  one.insert(one.end(), other.begin(), other.end());
  return one;
}
Numbers zeros(std::size_t count) {
  return Numbers(count, 0);
}
Numbers numbers_of(net::MacAddr mac) {
  return {mac.bytes.begin(), mac.bytes.end()};
}

// --- wrapping: what stands between the MAC addresses and the content ---

const Numbers kVlan0{0x81, 0, 0, 0}, kQinq{0x88, 0xa8, 0, 0}, kVlan7{0x81, 0, 0, 7};
const Numbers kSnap{0, 50, 0xaa, 0xaa, 3, 0, 0, 0}, kSnapOf8021H{0, 50, 0xaa, 0xaa, 3, 0, 0, 0xf8};
const Numbers kSnapWithLength0{0, 0, 0xaa, 0xaa, 3, 0, 0, 0},
    kSnapWithLength1535{5, 255, 0xaa, 0xaa, 3, 0, 0, 0};
const Numbers kOtherSap{0, 50, 0x42, 0x42, 3, 0, 0, 0}, kOtherOrganization{0, 50, 0xaa, 0xaa, 3, 0, 0, 0x0c};

Bytes within(const Numbers& wrapping, Bytes frame) {
  const Bytes head(frame.begin(), frame.begin() + 12), tail(frame.begin() + 12, frame.end());
  return head + as_bytes(wrapping) + tail;
}
Bytes to_all(Bytes frame) {
  std::memset(frame.data(), 0xff, 6);
  return frame;
}
Bytes claim(const char* address) {
  return arp(ArpOperation::Reply, kOwn, address, {}, address, net::kBroadcastMac);
}
Bytes datagram(const char* source, std::uint16_t from = 5000, std::uint16_t to = 5001) {
  return Packet().from(kOwn, source, from).to(kOther, kVm2Address, to).udp().frame();
}
Bytes rarp(ArpOperation operation, net::MacAddr mac) {
  Bytes frame = arp(operation, mac, "0.0.0.0", mac, "0.0.0.0", net::kBroadcastMac);
  std::memcpy(frame.data() + 6, kOwn.bytes.data(), 6);
  frame[12] = std::byte{0x80};
  frame[13] = std::byte{0x35};
  return frame;
}
Bytes icmp(std::uint8_t type) {
  return Packet().from(kOwn, kVm1Address).to(kOther, kVm2Address).icmp_echo(net::IcmpType{type}, 1).frame();
}

// --- IPv6 ---

constexpr unsigned kHopByHop = 0, kTcp = 6, kUdp = 17, kRouting = 43, kFragment = 44, kEsp = 50,
                   kAuthentication = 51, kIcmpv6 = 58, kNoNext = 59, kDestination = 60, kMobility = 135;

Bytes ipv6(unsigned next, const Numbers& payload) {
  const auto length = static_cast<unsigned>(payload.size());
  const Numbers link_local = Numbers{0xfe, 0x80} + zeros(13) + Numbers{1};
  return as_bytes(numbers_of(kAllNodes) + numbers_of(kOwn) + Numbers{0x86, 0xdd, 0x60, 0, 0, 0} +
                  Numbers{length >> 8, length & 0xff, next, 255} + link_local + link_local + payload);
}
Numbers extension(unsigned next, unsigned units = 0) {
  return Numbers{next, units} + zeros(6 + 8 * units);
}
Numbers fragment(unsigned next, unsigned offset, unsigned more) {
  const unsigned field = offset / 8 << 3 | more;
  return {next, 0, field >> 8, field & 0xff, 0, 0, 0, 9};
}
Numbers authentication(unsigned next) {
  return Numbers{next, 4} + zeros(22);
}
Numbers option(unsigned type, net::MacAddr mac) {
  return Numbers{type, 1} + numbers_of(mac);
}
const Numbers kMtuOption{5, 1, 0, 0, 0, 0, 5, 220};

Numbers router_message(unsigned type) {  // solicitation and advertisement
  return Numbers{type, 0, 0, 0} + zeros(type == 133 ? 4 : 12);
}
Numbers neighbor_message(unsigned type) {
  return Numbers{type, 0, 0, 0} + zeros(20);
}
Numbers udp_to(unsigned port, std::size_t payload = 20) {
  const auto length = static_cast<unsigned>(8 + payload);
  return Numbers{port == 546 ? 2u : 1u, 0x23, port >> 8, port & 0xff, 0, length, 0, 0} + zeros(payload);
}
// So many destination headers before the rest.
Bytes behind_extensions(unsigned count, unsigned next, const Numbers& rest) {
  Numbers chain;
  for (unsigned i = 1; i < count; ++i) chain = chain + extension(kDestination);
  return ipv6(kDestination, chain + extension(next) + rest);
}

struct Row {
  const char* says;
  Bytes frame;
  DropReason guarded;
  DropReason open = kPasses;  // at a port without a guard
};

std::vector<Row> wrapped() {
  constexpr auto address = DropReason::SpoofedAddress, tagged = DropReason::VlanTagged;
  return {
      {"ARP for the gateway in SNAP", within(kSnap, claim(kGateway)), address, address},
      {"ARP for a neighbour in SNAP", within(kSnap, claim(kVm2Address)), address},
      {"its own ARP in SNAP", within(kSnap, claim(kVm1Address)), kPasses},
      {"ARP for the gateway in 802.1H", within(kSnapOf8021H, claim(kGateway)), address, address},
      {"IPv4 of the gateway in SNAP", within(kSnap, datagram(kGateway)), address, address},
      {"its own IPv4 in SNAP", within(kSnap, datagram(kVm1Address)), kPasses},
      {"whatever the length says, 0", within(kSnapWithLength0, claim(kGateway)), address, address},
      {"or 1535", within(kSnapWithLength1535, claim(kGateway)), address, address},
      {"SNAP in VLAN 0", within(kVlan0 + kSnap, claim(kGateway)), address, address},
      {"SNAP in VLAN 7, which a stack may be told to take", within(kVlan7 + kSnap, claim(kGateway)), address,
       address},
      {"VLAN 0 in SNAP", within(kSnap + kVlan0, claim(kGateway)), address, address},
      {"802.1ad and 802.1Q", within(kQinq + kVlan0, datagram(kGateway)), address, address},
      {"SNAP in VLAN 0 in SNAP in VLAN 0", within(kVlan0 + kSnap + kVlan0 + kSnap, claim(kGateway)), address,
       address},
      {"once more than is looked through",
       within(kVlan7 + kSnap + kVlan0 + kSnap + kVlan0, claim(kVm1Address)), tagged, tagged},
      {"LLC of STP", within(kOtherSap, claim(kGateway)), kPasses},
      {"SNAP of CDP", within(kOtherOrganization, claim(kGateway)), kPasses},
      {"where QEMU's VM has moved to", rarp(ArpOperation::ReverseRequest, kOwn), kPasses},
      {"where the gateway has moved to", rarp(ArpOperation::ReverseRequest, kRedMac), DropReason::SpoofedMac,
       DropReason::SpoofedMac},
      {"an address by RARP", rarp(ArpOperation::ReverseReply, kOwn), DropReason::RogueDhcp},
      {"RA in SNAP", within(kSnap, ipv6(kIcmpv6, router_message(134))), DropReason::RogueRouter},
      {"RA in VLAN 0", within(kVlan0, ipv6(kIcmpv6, router_message(134))), DropReason::RogueRouter},
      {"RA four deep", within(kQinq + kVlan0 + kSnap + kVlan0, ipv6(kIcmpv6, router_message(134))),
       DropReason::RogueRouter},
      {"DHCP of a server in VLAN 0", within(kVlan0, datagram(kVm1Address, 67, 68)), DropReason::RogueDhcp},
      {"DHCP of a server in SNAP", within(kSnap, datagram(kVm1Address, 67, 68)), DropReason::RogueDhcp},
  };
}

std::vector<Row> services() {
  constexpr auto router = DropReason::RogueRouter, server = DropReason::RogueDhcp;
  const Bytes whole =
      Packet().from(kOwn, kVm1Address, 67).to(kOther, kVm2Address, 68).udp().payload(64).frame();
  Bytes first = whole, later = whole;
  first[20] = std::byte{0x20};  // more fragments
  later[21] = std::byte{8};     // offset 64
  for (Bytes* frame : {&first, &later}) mend_ip_checksum(*frame);
  return {
      {"DHCP of a server to one", whole, server},
      {"to all", to_all(whole), server},
      {"from another port", datagram(kVm1Address, 5000, 68), server},
      {"behind options",
       Packet().from(kOwn, kVm1Address, 67).to(kOther, kVm2Address, 68).udp().options(2).frame(), server},
      {"in fragments", first, server},
      {"a later fragment of something", later, kPasses},
      {"a DHCP client to a server of its own", datagram(kVm1Address, 68, 67), kPasses},
      {"another datagram", datagram(kVm1Address, 68, 69), kPasses},
      {"ICMP router advertisement", icmp(9), router},
      {"ICMP router solicitation", icmp(10), kPasses},
      {"an echo request", icmp(8), kPasses},
  };
}

std::vector<Row> ipv6_rows() {
  constexpr auto router = DropReason::RogueRouter, server = DropReason::RogueDhcp,
                 hidden = DropReason::Ipv6Hidden, mac = DropReason::SpoofedMac;
  const Numbers advertisement = router_message(134), dhcp = udp_to(546);
  return {
      {"RA", ipv6(kIcmpv6, advertisement), router},
      {"RA with its MAC", ipv6(kIcmpv6, advertisement + option(1, kOwn)), router},
      {"redirect", ipv6(kIcmpv6, neighbor_message(137) + zeros(16)), router},
      {"RA behind hop-by-hop options", ipv6(kHopByHop, extension(kIcmpv6) + advertisement), router},
      {"RA behind long destination options", ipv6(kDestination, extension(kIcmpv6, 30) + advertisement),
       router},
      {"RA behind a routing header", ipv6(kRouting, extension(kIcmpv6, 2) + advertisement), router},
      {"RA behind a mobility header", ipv6(kMobility, extension(kIcmpv6) + advertisement), router},
      {"RA behind authentication", ipv6(kAuthentication, authentication(kIcmpv6) + advertisement), router},
      {"RA behind sixteen headers", behind_extensions(16, kIcmpv6, advertisement), router},
      {"anything behind seventeen", behind_extensions(17, kUdp, udp_to(53)), hidden},
      {"RA in an atomic fragment", ipv6(kFragment, fragment(kIcmpv6, 0, 0) + advertisement), router},
      {"RA in the first of more fragments", ipv6(kFragment, fragment(kIcmpv6, 0, 1) + advertisement), router},
      {"RA in a fragment within a fragment",
       ipv6(kFragment, fragment(kFragment, 0, 1) + fragment(kIcmpv6, 0, 1) + advertisement), router},
      {"RA behind options in a fragment",
       ipv6(kFragment, fragment(kDestination, 0, 1) + extension(kIcmpv6, 3) + advertisement), router},
      {"a first fragment whose options go on in the next",
       ipv6(kFragment, fragment(kDestination, 0, 1) + Numbers{kIcmpv6, 20} + zeros(30)), hidden},
      {"a first fragment that ends with its options",
       ipv6(kFragment, fragment(kDestination, 0, 1) + extension(kIcmpv6)), hidden},
      {"a first fragment without a whole UDP header", ipv6(kFragment, fragment(kUdp, 0, 1) + zeros(4)),
       hidden},
      {"a first fragment without a whole TCP header", ipv6(kFragment, fragment(kTcp, 0, 1) + zeros(16)),
       hidden},
      {"a later fragment", ipv6(kFragment, fragment(kIcmpv6, 64, 1) + advertisement), kPasses},
      {"the first fragment of a long datagram", ipv6(kFragment, fragment(kUdp, 0, 1) + udp_to(53, 64)),
       kPasses},
      {"of a long echo request", ipv6(kFragment, fragment(kIcmpv6, 0, 1) + Numbers{128, 0} + zeros(62)),
       kPasses},
      {"a header that is longer than the packet", ipv6(kHopByHop, Numbers{kIcmpv6, 200} + zeros(30)), hidden},
      {"no ICMPv6 at all", ipv6(kIcmpv6, {}), hidden},
      {"nothing, and says so", ipv6(kNoNext, {}), kPasses},
      {"RA of another version of IP",
       [] {
         Bytes frame = ipv6(kIcmpv6, router_message(134));
         frame[14] = std::byte{0x50};
         return frame;
       }(),
       kPasses},
      {"DHCPv6 of a server", ipv6(kUdp, dhcp), server},
      {"behind options", ipv6(kDestination, extension(kUdp) + dhcp), server},
      {"in fragments", ipv6(kFragment, fragment(kUdp, 0, 1) + dhcp), server},
      {"DHCPv6 of a client", ipv6(kUdp, udp_to(547)), kPasses},
      {"RS", ipv6(kIcmpv6, router_message(133)), kPasses},
      {"RS with its MAC", ipv6(kIcmpv6, router_message(133) + option(1, kOwn)), kPasses},
      {"RS with another's MAC", ipv6(kIcmpv6, router_message(133) + option(1, kOther)), mac},
      {"NS with its MAC", ipv6(kIcmpv6, neighbor_message(135) + option(1, kOwn)), kPasses},
      {"NS without a MAC", ipv6(kIcmpv6, neighbor_message(135)), kPasses},
      {"NS with another's MAC", ipv6(kIcmpv6, neighbor_message(135) + option(1, kOther)), mac},
      {"NA with its MAC", ipv6(kIcmpv6, neighbor_message(136) + option(2, kOwn)), kPasses},
      {"NA with the gateway's MAC", ipv6(kIcmpv6, neighbor_message(136) + option(2, kRedMac)), mac},
      {"NA with another's MAC behind another option",
       ipv6(kIcmpv6, neighbor_message(136) + kMtuOption + option(2, kOther)), mac},
      {"NA with another's MAC behind options",
       ipv6(kHopByHop, extension(kIcmpv6) + neighbor_message(136) + option(2, kOther)), mac},
      {"NA with an option of no length", ipv6(kIcmpv6, neighbor_message(136) + zeros(2) + option(2, kOther)),
       hidden},
      {"NA in fragments", ipv6(kFragment, fragment(kIcmpv6, 0, 1) + neighbor_message(136)), hidden},
      {"NA whose padding would name another",
       [] {
         Bytes frame = ipv6(kIcmpv6, neighbor_message(136));
         return frame + as_bytes(option(2, kOther));
       }(),
       kPasses},
      {"echo request", ipv6(kIcmpv6, Numbers{128, 0} + zeros(20)), kPasses},
      {"MLD report", ipv6(kHopByHop, Numbers{kIcmpv6, 0, 5, 2, 0, 0, 1, 0} + Numbers{143, 0} + zeros(26)),
       kPasses},
      {"TCP", ipv6(kTcp, zeros(20)), kPasses},
      {"ESP", ipv6(kEsp, zeros(40)), kPasses},
      {"a protocol that nobody knows", ipv6(253, zeros(40)), kPasses},
  };
}

class GuardedContent : public ::testing::Test {
 protected:
  GuardedContent() {
    bed.change_state([](dataplane::ForwardingState& state) {
      dataplane::Network& red = state.networks[0];
      red.mac_owners = dataplane::WordTable<PortIndex>(
          {{kRedMac.as_word(), kUplink}, {kOwn.as_word(), kVm1}, {kOther.as_word(), kVm2}});
      red.address_owners = dataplane::WordTable<PortIndex>({{net::parse_ipv4(kGateway)->raw(), kUplink},
                                                            {net::parse_ipv4(kVm1Address)->raw(), kVm1},
                                                            {net::parse_ipv4(kVm2Address)->raw(), kVm2}});
      red.macs = dataplane::WordTable<PortIndex>({{kOther.as_word(), kVm2}});
      state.ports[kVm1].guard = Guard::OwnBoth;
      state.ports[kVm1].is_guarded = true;
      state.ports[kVm3].guard = Guard::GatewayOnly;
    });
  }
  void TearDown() override { EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts()); }

  // Why it does not reach vm2; kPasses when it does.
  DropReason end_of(PortIndex from, const Bytes& frame) {
    std::vector<std::uint64_t> before;
    for (std::size_t i = 0; i < dataplane::kDropReasonCount; ++i)
      before.push_back(bed.dropped(static_cast<DropReason>(i)));
    bed.exchange(from, frame);
    const bool arrived = !bed.take(kVm2).empty();
    for (std::size_t i = 0; i < dataplane::kDropReasonCount; ++i)
      if (bed.dropped(static_cast<DropReason>(i)) != before[i]) return static_cast<DropReason>(i);
    EXPECT_TRUE(arrived);
    return kPasses;
  }
  static std::string name(DropReason reason) {
    return reason == kPasses ? "passes" : std::string(dataplane::kDropNames[index_of(reason)]);
  }
  void expect_table(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      EXPECT_EQ(name(end_of(kVm1, row.frame)), name(row.guarded)) << "guarded: " << row.says;
      EXPECT_EQ(name(end_of(kVm3, row.frame)), name(row.open)) << "without a guard: " << row.says;
    }
  }
  void make_vm1_the_usual_sender() {
    bed.change_state([](dataplane::ForwardingState& state) {
      state.ports[kVm1].usual_mac = kOwn;
      state.ports[kVm1].usual_address = *net::parse_ipv4(kVm1Address);
    });
  }
  Testbed bed;
};

TEST_F(GuardedContent, WhatTagsAndSnapHideIsFound) {
  expect_table(wrapped());
}

TEST_F(GuardedContent, NoVmIsADhcpServerOrARouterToItsNeighbours) {
  expect_table(services());
  make_vm1_the_usual_sender();
  expect_table(services());
}

TEST_F(GuardedContent, NorIsItInIpv6) {
  expect_table(ipv6_rows());
}

TEST_F(GuardedContent, APortWithoutALeaseIsHeldToTheSame) {
  bed.change_state([](dataplane::ForwardingState& state) { state.ports[kVm1].guard = Guard::Others; });
  expect_table(services());
  expect_table(ipv6_rows());
}

TEST_F(GuardedContent, SoIsOneWhereNobodyOwnsAnythingYet) {
  bed.change_state([](dataplane::ForwardingState& state) {
    state.networks[0].mac_owners = dataplane::WordTable<PortIndex>({{kRedMac.as_word(), kUplink}});
    state.ports[kVm1].guard = Guard::GatewayOnly;
  });
  expect_table(services());
  EXPECT_EQ(end_of(kVm1, ipv6(kIcmpv6, router_message(134))), DropReason::RogueRouter);
  EXPECT_EQ(end_of(kVm1, ipv6(kUdp, udp_to(546))), DropReason::RogueDhcp);
}

TEST_F(GuardedContent, WhereVmnatGivesNoLeasesAVmMay) {
  bed.change_state([](dataplane::ForwardingState& state) { state.networks[0].dhcp = false; });
  EXPECT_EQ(end_of(kVm1, datagram(kVm1Address, 67, 68)), kPasses);
  EXPECT_EQ(end_of(kVm1, ipv6(kUdp, udp_to(546))), DropReason::RogueDhcp)
      << "of IPv6 vmnat gives none anywhere";
}

TEST_F(GuardedContent, WhatGoesOutByTheGatewayIsNoNeighboursAffair) {
  const Bytes frame = Packet().from(kOwn, kVm1Address, 67).to(kRedMac, "198.51.100.7", 68).udp().frame();
  bed.exchange(kVm1, frame);
  EXPECT_EQ(bed.take(kUplink).size(), 1u);
}

TEST_F(GuardedContent, IsReadWhereverTheBuffersEndAndIsZeroBehindTheFrame) {
  const Bytes advertisement =
      within(kVlan0 + kSnap, ipv6(kDestination, extension(kIcmpv6, 3) + router_message(134)));
  const Bytes solicitation = ipv6(kIcmpv6, neighbor_message(135) + option(1, kOther));
  for (const Bytes& frame : {advertisement, solicitation})
    for (std::size_t size = sizeof(net::EthernetHeader); size < frame.size(); ++size) {
      rte_mbuf* const buffers = buffer_of(frame, size);
      const dataplane::FrameReader reader(buffers);
      for (std::uint32_t at = 0; at < frame.size(); ++at) {
        const auto read = reader.read<std::array<std::byte, 8>>(at);
        for (std::uint32_t i = 0; i < read.size(); ++i)
          ASSERT_EQ(read[i], at + i < frame.size() ? frame[at + i] : std::byte{0}) << size << " " << at;
      }
      rte_pktmbuf_free(buffers);
    }
}

}  // namespace
}  // namespace vmnat::test
