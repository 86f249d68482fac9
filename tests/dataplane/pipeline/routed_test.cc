// SPDX-License-Identifier: Apache-2.0
// A network that is routed, and not translated (forward: route): red is, blue is not. On one worker and on several.
#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::EgressRules;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::WordTable;
using net::IcmpType;
using net::TcpHeader;
using ::testing::IsEmpty;

constexpr std::uint8_t kGre = 47;

class Routed : public OnWorkers {
 protected:
  Routed() : OnWorkers({kVm1, kVm2, kVm4}) {
    bed.change_state([](ForwardingState& state) {
      state.networks[0].is_routed = true;
      auto policies = *state.policies;
      policies[0].addresses.clear();
      state.policies = std::make_shared<const conntrack::NatPolicies>(policies);
      state.egress_rules = std::make_shared<const std::vector<EgressRules>>(
          std::vector<EgressRules>{{{.is_translated = false}}});
      const auto raw = [](const char* address) { return net::parse_ipv4(address)->raw(); };
      state.networks[0].hosts = WordTable<InsideHost>({{raw(kVm1Address), {.mac = vm_mac(1), .port = kVm1}},
                                                       {raw("192.168.122.99"), {.is_silent = true}}});
    });
  }
  // The packet comes out as it was, one hop on.
  void expect_passes(PortIndex from, const Packet& packet, PortIndex to) {
    bed.exchange(from, packet.frame());
    const Bytes out = only(bed.take(to)), expected = Packet(packet).ttl(63).frame();
    EXPECT_EQ(Bytes(out.begin() + 14, out.end()), Bytes(expected.begin() + 14, expected.end()))
        << describe(packet.frame());
  }
};

Packet outbound(std::uint16_t port = 40000, std::uint16_t to = 443) {
  return Packet().from(vm_mac(1), kVm1Address, port).to(kRedMac, kServer, to);
}
Packet inbound(std::uint16_t port = 443, std::uint16_t to = 40000, const char* vm = kVm1Address) {
  return Packet().from(kRouterMac, kServer, port).to(kUplinkMac, vm, to);
}

TEST_P(Routed, BothSidesBeginAndAreAnsweredByTheVmsOwnAddress) {
  expect_passes(kVm1, outbound().udp(), kUplink);
  expect_passes(kUplink, inbound().udp(), kVm1);
  expect_passes(kUplink, inbound(5000, 22).tcp(TcpHeader::kSyn), kVm1);
  expect_passes(kVm1, outbound(22, 5000).tcp(TcpHeader::kSyn | TcpHeader::kAck), kUplink);
  expect_passes(kUplink, inbound(0, 0).icmp_echo(IcmpType::EchoRequest, 7), kVm1);
  expect_passes(kVm1, outbound(0, 0).icmp_echo(IcmpType::EchoReply, 7), kUplink);
  expect_passes(kUplink, inbound(0, 0).protocol(kGre).payload(40), kVm1);
  expect_passes(kVm1, outbound(0, 0).protocol(kGre).payload(40), kUplink);
}

TEST_P(Routed, AVmThatNobodyKnowsIsAskedForAndOneThatIsSilentIsToldOf) {
  bed.exchange(kUplink, inbound(5000, 80, kVm2Address).tcp(TcpHeader::kSyn).frame());
  EXPECT_EQ(bed.take_punted().size(), 1u);
  bed.exchange(kUplink, inbound(5000, 80, "192.168.122.99").tcp(TcpHeader::kSyn).frame());
  const Bytes error = only(bed.take(kUplink));
  EXPECT_EQ(icmp(error).type, IcmpType::DestinationUnreachable);
  EXPECT_EQ(icmp(error).code, 1);
}

TEST_P(Routed, WhatNoVmOfItCanBeReachedByIsRefused) {
  bed.exchange(kUplink, inbound(443, 80, "192.168.5.10").udp().frame());  // of a network that is translated
  bed.exchange(kUplink, inbound(443, 80, "192.168.122.1").udp().frame());
  bed.exchange(kUplink, inbound(443, 80, "192.168.122.255").udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::NotExternal), 3u);
  bed.exchange(kUplink, inbound(0, 0).icmp_echo(IcmpType::EchoReply, 8).frame());
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 1u);
  bed.exchange(kUplink,
               Packet().from(kRouterMac, kVm2Address, 5).to(kUplinkMac, kVm1Address, 80).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::SourceForeign), 1u);
  for (const PortIndex vm : {kVm1, kVm2, kVm4}) EXPECT_THAT(bed.take(vm), IsEmpty());
}

TEST_P(Routed, OurOwnAddressAnswersPingsAndIsNoWayToOthers) {
  bed.exchange(kVm1,
               Packet(outbound(0, 0)).to(kRedMac, kExternal).icmp_echo(IcmpType::EchoRequest, 9).frame());
  EXPECT_EQ(icmp(only(bed.take(kVm1))).type, IcmpType::EchoReply);
  bed.exchange(kVm1, Packet(outbound()).to(kRedMac, kExternal, 8080).tcp(TcpHeader::kSyn).frame());
  EXPECT_EQ(bed.dropped(DropReason::Hairpin), 1u);
}

INSTANTIATE_TEST_SUITE_P(Workers, Routed, ::testing::Values(1u, 2u, 3u));

}  // namespace
}  // namespace vmnat::test
