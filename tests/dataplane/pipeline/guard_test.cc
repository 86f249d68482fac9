// SPDX-License-Identifier: Apache-2.0
// Who may send what from where: one table of frames for each strictness of the guard.
//
//   vm1 owns aa:..:01 and .10; vm2 and vm3 own nothing; the gateway is .1
#include <cstring>
#include <gtest/gtest.h>

#include "tests/support/tags.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::Guard;
using net::ArpOperation;

constexpr const char* kGateway = "192.168.122.1";
constexpr const char* kFree = "192.168.122.77";

enum class End { Passes, Mac, Address, Tagged };

struct Row {
  const char* says;
  Bytes frame;
  End at_owner;  // vm1, OwnBoth
  End at_other;  // vm2, Others
  End at_open;   // vm3, GatewayOnly
};

Bytes udp(net::MacAddr mac, const char* source) {
  return Packet().from(mac, source, 5000).to(kRedMac, kServer, 53).udp().frame();
}
Bytes said(net::MacAddr mac, net::MacAddr sender_mac, const char* sender) {
  Bytes frame = arp(ArpOperation::Reply, sender_mac, sender, {}, sender, net::kBroadcastMac);
  std::memcpy(frame.data() + 6, mac.bytes.data(), 6);
  return frame;
}
Bytes dhcp(net::MacAddr mac, const char* source = "0.0.0.0") {
  return Packet()
      .from(mac, source, 68)
      .to(net::kBroadcastMac, "255.255.255.255", 67)
      .udp()
      .payload(300)
      .frame();
}
// Within so many tags of one VLAN.
Bytes within_tags(Bytes frame, unsigned tags, unsigned vlan = 0) {
  for (unsigned i = 0; i < tags; ++i) frame = tagged(frame, vlan);
  return frame;
}
Bytes cut(Bytes frame, std::size_t size) {
  frame.resize(size);
  return frame;
}
Bytes to_all(Bytes frame) {
  std::memset(frame.data(), 0xff, 6);
  return frame;
}
Bytes with_type(Bytes frame, unsigned type) {
  frame[12] = static_cast<std::byte>(type >> 8);
  frame[13] = static_cast<std::byte>(type & 0xff);
  return frame;
}

std::vector<Row> rows() {
  using enum End;
  const net::MacAddr own = vm_mac(1), free = vm_mac(9);
  const Bytes broken = to_all(Packet().from(own, kFree, 1).to(kRedMac, kServer, 2).udp().frame([](Bytes& b) {
    b[24] = std::byte{0x77};  // checksum
  }));
  return {
      {"the owner's MAC and address", udp(own, kVm1Address), Passes, Mac, Passes},
      {"the owner's MAC, a free address", udp(own, kFree), Address, Mac, Passes},
      {"a free MAC, the owner's address", udp(free, kVm1Address), Mac, Address, Passes},
      {"a free MAC and address", udp(free, kFree), Mac, Passes, Passes},
      {"the gateway's address", udp(free, kGateway), Mac, Address, Address},
      {"the gateway's address, the owner's MAC", udp(own, kGateway), Address, Mac, Address},
      {"the gateway's MAC", udp(kRedMac, kFree), Mac, Mac, Mac},
      {"no address", udp(own, "0.0.0.0"), Address, Mac, Passes},
      {"an announcement of the owner's", said(own, own, kVm1Address), Passes, Mac, Passes},
      {"another's claim to the owner's address", said(free, free, kVm1Address), Mac, Address, Passes},
      {"the owner's claim to a free address", said(own, own, kFree), Address, Mac, Passes},
      {"a claim to the gateway's address", said(free, free, kGateway), Mac, Address, Address},
      {"a claim in the name of the gateway's MAC", said(free, kRedMac, kFree), Mac, Mac, Mac},
      {"a claim in the name of the owner's MAC", said(free, own, kFree), Mac, Mac, Passes},
      {"a claim in the name of a free MAC", said(own, free, kVm1Address), Mac, Mac, Passes},
      {"an ARP probe", said(own, own, "0.0.0.0"), Passes, Mac, Passes},
      {"an ARP probe of a free MAC", said(free, free, "0.0.0.0"), Mac, Passes, Passes},
      {"DHCP without an address", dhcp(own), Passes, Mac, Passes},
      {"DHCP of a further client on the port", dhcp(free), Passes, Passes, Passes},
      {"DHCP of a further client that has an address already", dhcp(free, kFree), Mac, Passes, Passes},
      {"DHCP in the gateway's name", dhcp(free, kGateway), Mac, Address, Address},
      {"DHCP from the gateway's MAC", dhcp(kRedMac), Mac, Mac, Mac},
      {"in VLAN 0, the gateway's address", within_tags(to_all(udp(own, kGateway)), 1), Address, Mac, Address},
      {"in VLAN 0, a claim to the gateway's address", within_tags(said(own, own, kGateway), 1), Address, Mac,
       Address},
      {"in VLAN 0 four times, a claim", within_tags(said(free, free, kGateway), 4), Mac, Address, Address},
      {"in VLAN 7 four times, a claim", within_tags(said(free, free, kGateway), 4, 7), Mac, Address, Address},
      {"in VLAN 7 five times", within_tags(said(own, own, kVm1Address), 5, 7), Tagged, Mac, Tagged},
      {"in VLAN 0, the owner", within_tags(to_all(udp(own, kVm1Address)), 1), Passes, Mac, Passes},
      {"a broken header, a free address", broken, Address, Mac, Passes},
      {"IPv6 of the owner's MAC", with_type(to_all(udp(own, kFree)), 0x86dd), Passes, Mac, Passes},
      {"IPv6 of another MAC", with_type(to_all(udp(free, kFree)), 0x86dd), Mac, Passes, Passes},
      {"ARP that ends within the address, 192.168.0.0 with its padding", cut(said(own, own, kFree), 30),
       Address, Mac, Passes},
      {"ARP of the gateway's without its target", cut(said(own, own, kGateway), 32), Address, Mac, Address},
      {"ARP that ends before its sender", cut(said(own, own, kFree), 22), Passes, Mac, Passes},
      {"IPv4 that ends behind its source", cut(udp(own, kFree), 30), Address, Mac, Passes},
      {"IPv4 that ends before its source", cut(udp(own, kFree), 26), Address, Mac, Passes},
  };
}

class GuardTest : public ::testing::Test {
 protected:
  GuardTest() {
    bed.change_state([](dataplane::ForwardingState& state) {
      dataplane::Network& red = state.networks[0];
      red.mac_owners =
          dataplane::WordTable<PortIndex>({{kRedMac.as_word(), kUplink}, {vm_mac(1).as_word(), kVm1}});
      red.address_owners = dataplane::WordTable<PortIndex>(
          {{net::parse_ipv4(kGateway)->raw(), kUplink}, {net::parse_ipv4(kVm1Address)->raw(), kVm1}});
      state.ports[kVm1].guard = Guard::OwnBoth;
      state.ports[kVm2].guard = Guard::Others;
      state.ports[kVm3].guard = Guard::GatewayOnly;
    });
  }
  void TearDown() override { EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts()); }

  End end_of(PortIndex port, const Bytes& frame) {
    const auto of = [&](DropReason reason) { return bed.dropped(reason); };
    const auto macs = of(DropReason::SpoofedMac), addresses = of(DropReason::SpoofedAddress),
               tags = of(DropReason::VlanTagged);
    bed.exchange(port, frame);
    if (of(DropReason::SpoofedMac) != macs) return End::Mac;
    if (of(DropReason::SpoofedAddress) != addresses) return End::Address;
    return of(DropReason::VlanTagged) != tags ? End::Tagged : End::Passes;
  }
  void expect_table() {
    for (const Row& row : rows()) {
      EXPECT_EQ(end_of(kVm1, row.frame), row.at_owner) << "at the owner: " << row.says;
      EXPECT_EQ(end_of(kVm2, row.frame), row.at_other) << "at another: " << row.says;
      EXPECT_EQ(end_of(kVm3, row.frame), row.at_open) << "without a guard: " << row.says;
    }
  }
  Testbed bed;
};

TEST_F(GuardTest, EveryFrameEndsAsTheTableSays) {
  expect_table();
}

TEST_F(GuardTest, ItEndsLikeThatTooWhenTheSenderIsTheUsualOne) {
  bed.change_state([](dataplane::ForwardingState& state) {
    state.ports[kVm1].usual_mac = vm_mac(1);
    state.ports[kVm1].usual_address = *net::parse_ipv4(kVm1Address);
    state.ports[kVm2].usual_mac = vm_mac(9);
    state.ports[kVm3].usual_mac = vm_mac(1);
  });
  expect_table();
}

TEST_F(GuardTest, APortWithAMacAloneIsHeldToItAndToNoAddressOfItsOwn) {
  bed.change_state([](dataplane::ForwardingState& state) {
    dataplane::Network& red = state.networks[0];
    red.mac_owners =
        dataplane::WordTable<PortIndex>({{kRedMac.as_word(), kUplink}, {vm_mac(2).as_word(), kVm2}});
    state.ports[kVm2].guard = Guard::OwnMac;
    state.ports[kVm2].usual_mac = vm_mac(2);
  });
  EXPECT_EQ(end_of(kVm2, udp(vm_mac(2), kFree)), End::Passes);
  EXPECT_EQ(end_of(kVm2, udp(vm_mac(2), kVm1Address)), End::Address);
  EXPECT_EQ(end_of(kVm2, udp(vm_mac(9), kFree)), End::Mac);
  EXPECT_EQ(end_of(kVm2, dhcp(vm_mac(9))), End::Passes);
}

TEST_F(GuardTest, WhoWasRefusedIsNotLearned) {
  bed.exchange(kVm2, to_all(udp(vm_mac(1), kFree)));
  bed.exchange(kVm2, to_all(udp(vm_mac(9), kGateway)));
  EXPECT_TRUE(bed.take_learned().empty());
  EXPECT_TRUE(bed.take(kVm1).empty());
  EXPECT_EQ(bed.counts(), (Counts{{"vm2.rx", 2}, {"drop.spoofed_mac", 1}, {"drop.spoofed_address", 1}}));
}

}  // namespace
}  // namespace vmnat::test
