// SPDX-License-Identifier: Apache-2.0
// Which ARP control hears of, on the uplink's link and inside, and what becomes of the frame meanwhile.

#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::NextHop;
using dataplane::WordTable;
using net::ArpOperation;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char *kRouter = "203.0.113.1", *kNeighbour = "203.0.113.9", *kStranger = "203.0.113.77";
constexpr net::MacAddr kNewMac{{0x02, 0, 0, 0, 0, 0xcc}};

net::Ipv4Addr ip_of(const char* text) {
  return net::parse_ipv4(text).value();
}
Bytes request(net::MacAddr mac, const char* sender, const char* target,
              net::MacAddr to = net::kBroadcastMac) {
  return arp(ArpOperation::Request, mac, sender, {}, target, to);
}
Bytes reply(net::MacAddr mac, const char* sender, net::MacAddr to) {
  return arp(ArpOperation::Reply, mac, sender, to, kExternal, to);
}

class Arp : public OnTestbed {
 protected:
  // The uplink's neighbour is known at vm_mac(9), vm1 at its MAC; another VM is asked for.
  void SetUp() override {
    OnTestbed::SetUp();
    bed.change_state([](ForwardingState& state) {
      state.uplinks[0].neighbors = WordTable<NextHop>({{ip_of(kNeighbour).raw(), {.mac = vm_mac(9)}}});
      state.networks[0].hosts =
          WordTable<InsideHost>({{ip_of(kVm1Address).raw(), {.mac = vm_mac(1), .port = kVm1}},
                                 {ip_of("192.168.122.11").raw(), {}}});
    });
  }
  bool is_punted(PortIndex port, const Bytes& frame) {
    bed.exchange(port, frame);
    const auto punted = bed.take_punted();
    return punted.size() == 1 && punted[0] == frame;
  }
  // The frame goes on, and control hears what it says.
  bool is_reported(PortIndex port, const Bytes& frame) {
    bed.take_learned();
    bed.exchange(port, frame);
    EXPECT_THAT(bed.take_punted(), IsEmpty());
    const auto& said = *net::view<net::ArpPacket>(frame, 14);
    for (const dataplane::LearnedMac& report : bed.take_learned())
      if (report.mac == said.sender_mac && report.address == said.sender_address && report.port == port)
        return true;
    return false;
  }
};

// RFC 826: in whatever packet it is said.
TEST_F(Arp, NewsOfANeighbourThatIsKnownGoesToControl) {
  for (const char* who : {kRouter, kNeighbour}) {
    EXPECT_TRUE(is_punted(kUplink, request(kNewMac, who, who))) << who;
    EXPECT_TRUE(is_punted(kUplink, request(kNewMac, who, kStranger)));
    EXPECT_TRUE(is_punted(kUplink, reply(kNewMac, who, net::kBroadcastMac)));
    EXPECT_TRUE(is_punted(kUplink, reply(kNewMac, who, kUplinkMac)));
    bed.pass(std::chrono::milliseconds(63));
  }
  EXPECT_TRUE(is_punted(kUplink, reply(kRouterMac, kRouter, net::kBroadcastMac))) << "an answer, to whomever";
  bed.exchange(kUplink, request(kRouterMac, kRouter, kStranger));
  bed.exchange(kUplink, request(kNewMac, kStranger, kStranger));
  bed.exchange(kUplink, reply(kNewMac, kStranger, net::kBroadcastMac));
  EXPECT_THAT(bed.take_punted(), IsEmpty()) << "no news, and whom nobody asks for";
  EXPECT_EQ(bed.dropped(DropReason::ArpUnasked), 3u);
}

TEST_F(Arp, WhoAsksForUsFromANewMacIsAnsweredAndHeard) {
  const Bytes asking = request(kNewMac, kRouter, kExternal);
  EXPECT_TRUE(is_reported(kUplink, asking));
  const Bytes answer = only(bed.take(kUplink));
  EXPECT_EQ(net::view<net::ArpPacket>(answer, 14)->sender_mac, kUplinkMac);
  EXPECT_EQ(ethernet(answer).destination, kNewMac);
  EXPECT_FALSE(is_reported(kUplink, request(kRouterMac, kRouter, kExternal))) << "as it is known";
}

// RFC 5227 section 2.4.
TEST_F(Arp, WhoClaimsAnAddressOfOursIsHeardInWhateverForm) {
  EXPECT_TRUE(is_reported(kUplink, request(kNewMac, kExternal, kExternal))) << "and answered";
  EXPECT_EQ(bed.take(kUplink).size(), 1u);
  for (const Bytes& frame :
       {request(kNewMac, kExternal, kStranger), reply(kNewMac, kExternal, net::kBroadcastMac),
        reply(kNewMac, kExternal, kUplinkMac)})
    EXPECT_TRUE(is_punted(kUplink, frame));
  EXPECT_FALSE(is_reported(kUplink, request(kNewMac, "0.0.0.0", kExternal))) << "a probe is answered";
  EXPECT_EQ(bed.take(kUplink).size(), 1u);
  EXPECT_FALSE(is_reported(kUplink, request(kUplinkMac, kExternal, kExternal))) << "our own, come back";
}

// RFC 5227 section 2.1.1.
TEST_F(Arp, AllThatIsSaidOfAnAddressAboutToBeOursIsHeard) {
  const char* const candidate = "203.0.113.50";
  const Bytes frames[] = {request(kNewMac, candidate, candidate), request(kNewMac, candidate, kStranger),
                          reply(kNewMac, candidate, net::kBroadcastMac),
                          request(kNewMac, "0.0.0.0", candidate)};
  for (const Bytes& frame : frames) bed.exchange(kUplink, frame);
  EXPECT_THAT(bed.take_punted(), IsEmpty());
  bed.change_state([&](ForwardingState& state) { state.uplinks[0].checked_address = ip_of(candidate); });
  for (const Bytes& frame : frames) EXPECT_TRUE(is_punted(kUplink, frame));
  bed.exchange(kUplink, request(kNewMac, "0.0.0.0", kStranger));
  bed.exchange(kUplink, request(kNewMac, "0.0.0.0", "0.0.0.0"));
  EXPECT_THAT(bed.take_punted(), IsEmpty());
  EXPECT_THAT(bed.take(kUplink), IsEmpty()) << "it is not ours yet";
}

TEST_F(Arp, WithoutARouterNobodySpeaksForNoAddress) {
  bed.change_state([](ForwardingState& state) {
    state.uplinks[0].gateway = {};
    state.uplinks[0].gateway_mac = {};
  });
  bed.exchange(kUplink, request(kNewMac, "0.0.0.0", "0.0.0.0"));
  bed.exchange(kUplink, reply(kNewMac, "0.0.0.0", net::kBroadcastMac));
  EXPECT_THAT(bed.take_punted(), IsEmpty());
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
}

TEST_F(Arp, AFloodOfNewsLeavesOtherNeighboursTheirAnswers) {
  for (int i = 0; i < 1000; ++i) {
    bed.put(kUplink, request(kNewMac, kRouter, kRouter));
    if (i % 16 == 15) bed.run();
  }
  EXPECT_EQ(bed.take_punted().size(), dataplane::kPuntsPerTarget);
  EXPECT_TRUE(is_punted(kUplink, reply(vm_mac(9), kNeighbour, kUplinkMac)));
  EXPECT_TRUE(is_punted(kUplink, reply(kRouterMac, kRouter, kUplinkMac)));
}

TEST_F(Arp, AVmThatIsAskedForIsLearnedFromAnyArpOfItsOwn) {
  const char* const vm2 = "192.168.122.11";
  for (const Bytes& frame : {request(vm_mac(2), vm2, "192.168.122.1"), request(vm_mac(2), vm2, vm2),
                             request(vm_mac(2), vm2, "192.168.122.1", kRedMac)})
    EXPECT_TRUE(is_reported(kVm2, frame));
  EXPECT_EQ(bed.take(kVm2).size(), 2u) << "and answered";
  EXPECT_THAT(bed.take(kVm3), ElementsAre(request(vm_mac(2), vm2, vm2))) << "and flooded";
  EXPECT_TRUE(is_punted(kVm2, reply(vm_mac(2), vm2, kRedMac)));
  EXPECT_FALSE(is_reported(kVm1, request(vm_mac(1), kVm1Address, "192.168.122.1"))) << "as it is known";
  EXPECT_TRUE(is_reported(kVm1, request(vm_mac(7), kVm1Address, "192.168.122.1"))) << "another MAC";
}

TEST_F(Arp, AVmThatClaimsTheGatewaysAddressIsToldOfAndRefused) {
  const Bytes claim = request(vm_mac(2), "192.168.122.1", "192.168.122.1");
  bed.change_state([](ForwardingState& state) {
    state.networks[0].address_owners = WordTable<PortIndex>({{ip_of("192.168.122.1").raw(), kUplink}});
  });
  EXPECT_TRUE(is_reported(kVm2, claim));
  EXPECT_EQ(bed.dropped(DropReason::SpoofedAddress), 1u);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
}

}  // namespace
}  // namespace vmnat::test
