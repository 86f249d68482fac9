// SPDX-License-Identifier: Apache-2.0
// Several uplinks: each network by the one that it is on, and nothing of one by another. red is on 203.0.113.2, blue
// on 192.0.2.2.
#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::ForwardingState;
using net::IcmpType;
using net::to_string;
using ::testing::IsEmpty;

constexpr const char* kRedVm = "192.168.122.11";
constexpr const char* kBlueVm = "192.168.5.10";

class Uplinks : public ::testing::Test {
 protected:
  Bytes of_red(std::string_view to = kServer, std::uint16_t port = 80) {
    return Packet().from(vm_mac(2), kRedVm, 40000).to(kRedMac, to, port).udp().frame();
  }
  Bytes of_blue(std::string_view to = kServer, std::uint16_t port = 80) {
    return Packet().from(vm_mac(4), kBlueVm, 50000).to(kBlueMac, to, port).udp().frame();
  }
  // To blue's external endpoint, by its uplink's router.
  static Packet to_blue(std::string_view from = kServer) {
    return Packet().from(kSecondRouterMac, from, 80).to(kSecondUplinkMac, kSecondExternal, 50000);
  }
  void take_all() {
    for (PortIndex port = 0; port < kPortCount; ++port) bed.take(port);
  }

  Testbed bed{Testbed::Shape{.uplinks = 2}};
};

TEST_F(Uplinks, ANetworkGoesByTheOneThatItIsOn) {
  bed.exchange(kVm2, of_red());
  const Bytes red = only(bed.take(kUplink));
  EXPECT_EQ(to_string(source_of(red)), "203.0.113.2:40000");
  EXPECT_EQ(ethernet(red).source, kUplinkMac);
  EXPECT_EQ(ethernet(red).destination, kRouterMac);
  bed.exchange(kVm4, of_blue());
  const Bytes blue = only(bed.take(kSecondUplink));
  EXPECT_EQ(to_string(source_of(blue)), "192.0.2.2:50000");
  EXPECT_EQ(ethernet(blue).source, kSecondUplinkMac);
  EXPECT_EQ(ethernet(blue).destination, kSecondRouterMac);
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  EXPECT_TRUE(bed.is_balanced());
}

TEST_F(Uplinks, RepliesComeByTheOneThatTheNetworkIsOn) {
  bed.exchange(kVm4, of_blue());
  bed.exchange(kSecondUplink, to_blue().udp().frame());
  EXPECT_EQ(to_string(destination_of(only(bed.take(kVm4)))), "192.168.5.10:50000");
}

TEST_F(Uplinks, WhatComesForAnAddressOfAnotherOneIsDropped) {
  bed.exchange(kVm4, of_blue());
  take_all();
  const auto by_the_first = [](Packet packet) { return packet.from(kRouterMac, kServer, 80); };
  bed.exchange(kUplink, by_the_first(to_blue().to(kUplinkMac, kSecondExternal, 50000)).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::NotExternal), 1u) << "of a session";
  bed.exchange(kUplink, by_the_first(to_blue().to(kUplinkMac, kSecondExternal, 9)).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::NotExternal), 2u) << "of none";
  bed.exchange(
      kUplink,
      by_the_first(to_blue().to(kUplinkMac, kSecondExternal)).icmp_echo(IcmpType::EchoRequest, 7).frame());
  EXPECT_EQ(bed.dropped(DropReason::NotExternal), 3u) << "a ping of the gateway";
  for (PortIndex port = 0; port < kPortCount; ++port) EXPECT_THAT(bed.take(port), IsEmpty()) << port;
  EXPECT_TRUE(bed.is_balanced());
}

TEST_F(Uplinks, EachAnswersArpForItsOwnAddresses) {
  const auto ask = [&](PortIndex port, const char* address) {
    bed.exchange(port,
                 arp(net::ArpOperation::Request, kRouterMac, "203.0.113.1", {}, address, net::kBroadcastMac));
    return bed.take(port);
  };
  EXPECT_EQ(ethernet(only(ask(kUplink, kExternal))).source, kUplinkMac);
  EXPECT_EQ(ethernet(only(ask(kSecondUplink, kSecondExternal))).source, kSecondUplinkMac);
  EXPECT_THAT(ask(kUplink, kSecondExternal), IsEmpty());
  EXPECT_THAT(ask(kSecondUplink, kExternal), IsEmpty());
}

TEST_F(Uplinks, AFrameIsAcceptedByTheMacOfItsUplinkAlone) {
  bed.exchange(kVm4, of_blue());
  bed.exchange(kSecondUplink, to_blue().to(kUplinkMac, kSecondExternal, 50000).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::NotForUs), 1u);
}

// Sessions of the address that a network had do not leave by the uplink that it goes to; those of its pool do.
TEST_F(Uplinks, WhatIsLeftBehindDoesNotLeaveByTheNewOne) {
  bed.exchange(kVm4, of_blue());
  take_all();
  bed.change_state([](ForwardingState& state) {
    state.networks[1].uplink = kUplink;
    state.networks[1].is_moving = true;
  });
  bed.exchange(kVm4, of_blue());
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  EXPECT_THAT(bed.take(kSecondUplink), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::NotExternal), 1u);
  bed.change_state([](ForwardingState& state) { state.uplinks_of_external[1] = 1 << kUplink; });  // a pool's
  bed.exchange(kVm4, of_blue());
  EXPECT_EQ(to_string(source_of(only(bed.take(kUplink)))), "192.0.2.2:50000");
  bed.exchange(kSecondUplink, to_blue().udp().frame());
  EXPECT_THAT(bed.take(kVm4), IsEmpty()) << "its replies come by the new one";
}

TEST_F(Uplinks, OneWithoutAnAddressStopsItsNetworksAlone) {
  bed.change_state([](ForwardingState& state) {
    state.uplinks[1].address = {};
    state.uplinks[1].gateway = {};
    state.uplinks[1].mtu = 0;
  });
  bed.exchange(kVm4, of_blue());
  EXPECT_EQ(bed.dropped(DropReason::NoUplinkAddress), 1u);
  bed.exchange(kVm2, of_red());
  EXPECT_EQ(to_string(source_of(only(bed.take(kUplink)))), "203.0.113.2:40000");
}

TEST_F(Uplinks, ATooLargeFrameIsToldTheMtuOfItsUplink) {
  bed.change_state([](ForwardingState& state) { state.uplinks[1].mtu = 600; });
  const Bytes frame = Packet()
                          .from(vm_mac(4), kBlueVm, 50000)
                          .to(kBlueMac, kServer, 80)
                          .udp()
                          .payload(800)
                          .fragment(0x4000)
                          .frame();
  bed.exchange(kVm4, frame);
  const Bytes error = only(bed.take(kVm4));
  EXPECT_EQ(net::view<net::IcmpHeader>(error, 34)->sequence.host(), 600u);
}

// By way of an address on the other uplink's link a frame turns round here: no router sees it.
TEST_F(Uplinks, HairpinCrossesFromOneToTheOther) {
  bed.exchange(kVm4, of_blue());
  take_all();
  bed.exchange(kVm2, of_red(kSecondExternal, 50000));
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  EXPECT_THAT(bed.take(kSecondUplink), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::Filtered), 1u) << "it came to blue's mapping, which has not asked for it";
  bed.exchange(kVm4, of_blue(kExternal, 40000));
  EXPECT_THAT(bed.take(kSecondUplink), IsEmpty());
  EXPECT_EQ(to_string(source_of(only(bed.take(kVm2)))), "192.0.2.2:50000");
}

TEST_F(Uplinks, AnAnswerToAProbeIsControls) {
  const auto answer = [](std::uint16_t identifier) {
    return to_blue().icmp_echo(IcmpType::EchoReply, identifier).frame();
  };
  bed.exchange(kSecondUplink, answer(0));
  EXPECT_THAT(bed.take_punted(), IsEmpty()) << "nobody is probed";
  bed.change_state([](ForwardingState& state) { state.uplinks[1].probe = net::parse_ipv4(kServer).value(); });
  bed.exchange(kSecondUplink, answer(7));
  EXPECT_THAT(bed.take_punted(), IsEmpty()) << "a VM's, perhaps";
  bed.exchange(kSecondUplink, answer(0));
  EXPECT_EQ(bed.take_punted().size(), 1u);
  EXPECT_TRUE(bed.is_balanced());
}

}  // namespace
}  // namespace vmnat::test
