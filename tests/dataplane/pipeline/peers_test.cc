// SPDX-License-Identifier: Apache-2.0
// Rules between VMs of one network. Every case runs with one worker and with two, where vm1 and vm2 are those of
// different ones.
#include "tests/support/fixture.h"
#include "tests/support/fragment_builder.h"
#include "tests/support/rule_builder.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::kAllPeers;
using net::IcmpType;
using net::TcpHeader;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kTcp = net::Protocol::Tcp;
constexpr auto kUdp = net::Protocol::Udp;
constexpr auto kIcmp = net::Protocol::Icmp;
constexpr std::uint8_t kSyn = TcpHeader::kSyn, kAck = TcpHeader::kAck;
constexpr const char* kVm3Address = "192.168.122.12";

Packet to_vm2(std::uint16_t from = 4000, std::uint16_t to = 80) {
  return Packet().from(vm_mac(1), kVm1Address, from).to(vm_mac(2), kVm2Address, to);
}
Packet to_vm1(std::uint16_t from = 80, std::uint16_t to = 4000) {
  return Packet().from(vm_mac(2), kVm2Address, from).to(vm_mac(1), kVm1Address, to);
}
Bytes with_type(Bytes frame, unsigned type) {
  frame[12] = static_cast<std::byte>(type >> 8);
  frame[13] = static_cast<std::byte>(type & 0xff);
  return frame;
}

class Peers : public OnWorkers {
 protected:
  Peers() : OnWorkers({kVm1, kVm2, kVm3}) {}
  void put() { rules.put_into(bed); }

  void expect_passes(PortIndex from, const Bytes& frame, PortIndex to) {
    bed.exchange(from, frame);
    EXPECT_THAT(bed.take(to), ElementsAre(frame)) << describe(frame);
  }
  void expect_refused(PortIndex from, const Bytes& frame, DropReason reason = DropReason::Rule) {
    const std::uint64_t before = bed.dropped(reason);
    bed.exchange(from, frame);
    EXPECT_EQ(bed.dropped(reason), before + 1) << describe(frame);
    for (const PortIndex port : {kVm1, kVm2, kVm3}) {
      if (port != from) {
        EXPECT_THAT(bed.take(port), IsEmpty()) << describe(frame);
      }
    }
  }
  RuleBuilder rules;
};

TEST_P(Peers, WhatTheReceiverAcceptsComesAndItsAnswersGoBack) {
  rules.of_port(kVm2).in = {accept({.protocol = kTcp, .local_ports = {{80, 80}}})};
  rules.of_port(kVm1).in = {drop()};
  put();
  expect_refused(kVm1, to_vm2(4000, 81).tcp(kSyn).frame());
  expect_refused(kVm2, to_vm1().tcp(kSyn | kAck).frame());
  expect_passes(kVm1, to_vm2().tcp(kSyn).frame(), kVm2);
  expect_passes(kVm2, to_vm1().tcp(kSyn | kAck).frame(), kVm1);
  expect_passes(kVm1, to_vm2().tcp(kAck).frame(), kVm2);
  expect_passes(kVm2, to_vm1().tcp(kAck).frame(), kVm1);
  expect_refused(kVm2, to_vm1(80, 4001).tcp(kAck).frame());
  expect_refused(kVm2, to_vm1(80, 4000).udp().frame());
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
}

TEST_P(Peers, AConnectionTheOtherWayRoundIsNoAnswer) {
  rules.of_port(kVm1).in = {drop()};
  put();
  expect_passes(kVm1, to_vm2().tcp(kSyn).frame(), kVm2);
  expect_refused(kVm2, to_vm1().tcp(kSyn).frame());
  expect_passes(kVm2, to_vm1().tcp(kSyn | kAck).frame(), kVm1);
}

TEST_P(Peers, TheSendersOwnRulesKeepItIn) {
  rules.of_port(kVm1).out = {accept({.peer = kVm3}), accept({.protocol = kUdp, .remote_ports = {{53, 53}}})};
  put();
  expect_refused(kVm1, to_vm2().tcp(kSyn).frame());
  expect_passes(kVm1, to_vm2(4000, 53).udp().frame(), kVm2);
  expect_passes(
      kVm1, Packet().from(vm_mac(1), kVm1Address, 1).to(vm_mac(3), kVm3Address, 2).tcp(kSyn).frame(), kVm3);
  expect_passes(kVm2, to_vm1().tcp(kSyn).frame(), kVm1);
}

TEST_P(Peers, AVmIsKnownByItsPortAndAllOfANetworkByBeingThere) {
  rules.of_port(kVm2).in = {accept({.peer = kVm1})};
  rules.of_port(kVm3).in = {accept({.peer = kAllPeers})};
  put();
  expect_passes(kVm1, to_vm2().tcp(kSyn).frame(), kVm2);
  const Bytes of_vm3 =
      Packet().from(vm_mac(3), kVm3Address, 1).to(vm_mac(2), kVm2Address, 80).tcp(kSyn).frame();
  expect_refused(kVm3, of_vm3);
  const auto to_vm3 = [](const Packet& from) {
    return Packet(from).to(vm_mac(3), kVm3Address, 9).udp().frame();
  };
  expect_passes(kVm1, to_vm3(to_vm2()), kVm3);
  expect_passes(kVm2, to_vm3(to_vm1()), kVm3);
}

TEST_P(Peers, PingsAreAnsweredAndWhatAnswersNoneDoesNotCome) {
  rules.of_port(kVm1).in = {drop()};
  put();
  expect_refused(kVm2, to_vm1().icmp_echo(IcmpType::EchoReply, 7).frame());
  expect_passes(kVm1, to_vm2().icmp_echo(IcmpType::EchoRequest, 7).frame(), kVm2);
  expect_passes(kVm2, to_vm1().icmp_echo(IcmpType::EchoReply, 7).frame(), kVm1);
  expect_refused(kVm2, to_vm1().icmp_echo(IcmpType::EchoReply, 8).frame());
  expect_refused(kVm2, to_vm1().icmp_echo(IcmpType::EchoRequest, 7).frame());
}

TEST_P(Peers, AnIcmpErrorPassesIfItIsAboutAFlow) {
  rules.of_port(kVm1).in = {drop()};
  put();
  const Bytes asked = to_vm2(4000, 53).udp().frame();
  const Bytes error = to_vm1().icmp_error(IcmpType::DestinationUnreachable, 3, quoted(asked, 8)).frame();
  expect_refused(kVm2, error);
  expect_passes(kVm1, asked, kVm2);
  expect_passes(kVm2, error, kVm1);
  expect_refused(
      kVm2, to_vm1()
                .icmp_error(IcmpType::DestinationUnreachable, 3, quoted(to_vm2(4001, 53).udp().frame(), 8))
                .frame());
}

TEST_P(Peers, ArpPassesAndWhatIsNoIpv4NeedsARuleThatAsksForNothing) {
  rules.of_port(kVm2).in = {accept({.protocol = kTcp}), accept({.protocol = kUdp}),
                            accept({.protocol = kIcmp})};
  put();
  const Bytes ask = arp(net::ArpOperation::Request, vm_mac(1), kVm1Address, {}, kVm2Address, vm_mac(2));
  expect_passes(kVm1, ask, kVm2);
  const Bytes ipv6 = with_type(to_vm2().udp().frame(), 0x86dd),
              other = with_type(to_vm2().udp().frame(), 0x88b5);
  const Bytes broken = to_vm2().udp().frame([](Bytes& frame) { frame[24] ^= std::byte{1}; });
  for (const Bytes& frame : {ipv6, other, broken}) expect_refused(kVm1, frame);
  rules.of_port(kVm2).in.push_back(accept());
  put();
  for (const Bytes& frame : {ipv6, other, broken}) expect_passes(kVm1, frame, kVm2);
}

TEST_P(Peers, OfAGroupEachGetsItsCopyByItsOwnRules) {
  rules.of_port(kVm2).in = {accept({.protocol = kUdp, .local_ports = {{5353, 5353}}})};
  put();
  const Bytes asked = Packet()
                          .from(vm_mac(1), kVm1Address, 5353)
                          .to({{0x01, 0, 0x5e, 0, 0, 0xfb}}, "224.0.0.251", 5353)
                          .udp()
                          .frame();
  bed.exchange(kVm1, asked);
  EXPECT_THAT(bed.take(kVm2), ElementsAre(asked));
  EXPECT_THAT(bed.take(kVm3), ElementsAre(asked));
  const Bytes other =
      Packet().from(vm_mac(1), kVm1Address, 1).to(net::kBroadcastMac, "192.168.122.255", 9).udp().frame();
  bed.exchange(kVm1, other);
  EXPECT_THAT(bed.take(kVm2), IsEmpty());
  EXPECT_THAT(bed.take(kVm3), ElementsAre(other));
  const Bytes ask =
      arp(net::ArpOperation::Request, vm_mac(1), kVm1Address, {}, kVm2Address, net::kBroadcastMac);
  bed.exchange(kVm1, ask);
  EXPECT_THAT(bed.take(kVm2), ElementsAre(ask));
  EXPECT_THAT(bed.take(kVm3), ElementsAre(ask));
  rules.of_port(kVm3).in = {drop()};
  put();
  expect_refused(kVm1, other);
  rules.of_port(kVm1).out = {drop({.protocol = kUdp, .peer = kAllPeers})};
  put();
  expect_refused(kVm1, asked);
}

TEST_P(Peers, AVmWhoseMacIsNotKnownYetIsReachedByRulesToo) {
  rules.of_network(0).in = {accept({.protocol = kTcp, .local_ports = {{80, 80}}})};
  put();
  const Bytes frame =
      Packet().from(vm_mac(1), kVm1Address, 4000).to(vm_mac(99), "192.168.122.99", 80).tcp(kSyn).frame();
  bed.exchange(kVm1, frame);
  EXPECT_THAT(bed.take(kVm2), ElementsAre(frame));
  EXPECT_THAT(bed.take(kVm3), ElementsAre(frame));
  expect_refused(
      kVm1,
      Packet().from(vm_mac(1), kVm1Address, 4000).to(vm_mac(99), "192.168.122.99", 81).tcp(kSyn).frame());
}

TEST_P(Peers, FragmentsPassBehindTheirFirst) {
  rules.of_port(kVm2).in = {accept({.protocol = kUdp, .local_ports = {{53, 53}}})};
  put();
  const std::vector<Bytes> good = cut(with_id(to_vm2(4000, 53).udp().payload(2000).frame(), 5), 512);
  const std::vector<Bytes> bad = cut(with_id(to_vm2(4000, 54).udp().payload(2000).frame(), 6), 512);
  expect_refused(kVm1, good[1], DropReason::FragmentRefused);
  for (const Bytes& fragment : good) expect_passes(kVm1, fragment, kVm2);
  expect_refused(kVm1, bad[0]);
  expect_refused(kVm1, bad[1], DropReason::FragmentRefused);
  bed.advance(std::chrono::seconds(31));
  expect_refused(kVm1, good[1], DropReason::FragmentRefused);
}

TEST_P(Peers, AFlowIsForgottenWhenBothAreSilentAndKeptByEither) {
  rules.of_port(kVm1).in = {drop()};
  put();
  expect_passes(kVm1, to_vm2(4000, 53).udp().frame(), kVm2);
  for (int i = 0; i < 3; ++i) {
    bed.advance(std::chrono::seconds(100));
    expect_passes(kVm2, to_vm1(53, 4000).udp().frame(), kVm1);
  }
  bed.advance(std::chrono::seconds(125));
  expect_refused(kVm2, to_vm1(53, 4000).udp().frame());
}

TEST_P(Peers, WhenRulesChangeAFlowGoesOnIfItMightBeginNowAndEndsElse) {
  rules.of_port(kVm1).in = {drop()};
  put();
  expect_passes(kVm1, to_vm2(4000, 80).tcp(kSyn).frame(), kVm2);
  expect_passes(kVm1, to_vm2(4000, 81).tcp(kSyn).frame(), kVm2);
  rules.of_port(kVm2).in = {accept({.protocol = kTcp, .local_ports = {{80, 80}}})};
  put();
  expect_passes(kVm2, to_vm1(80).tcp(kSyn | kAck).frame(), kVm1);
  expect_refused(kVm2, to_vm1(81).tcp(kSyn | kAck).frame());
  rules.of_port(kVm2).in.clear();
  put();
  expect_refused(kVm2, to_vm1(81).tcp(kSyn | kAck).frame());
  expect_passes(kVm2, to_vm1(80).tcp(kAck).frame(), kVm1);
}

TEST_P(Peers, WithoutRulesAllOfItPassesAgain) {
  rules.of_port(kVm2).in = {drop()};
  put();
  expect_refused(kVm1, to_vm2().tcp(kSyn).frame());
  bed.change_state([](dataplane::ForwardingState& state) {
    state.rules = nullptr;
    for (dataplane::Port& port : state.ports) port.has_rules = false;
  });
  expect_passes(kVm1, to_vm2().tcp(kSyn).frame(), kVm2);
}

TEST_P(Peers, WhoIsRejectedIsToldByAResetInTheReceiversNameOrByTheGateway) {
  rules.of_port(kVm2).in = {reject()};
  put();
  expect_refused(kVm1, to_vm2().tcp(kSyn).frame(), DropReason::RuleReject);
  const Bytes reset = only(bed.take(kVm1));
  EXPECT_EQ(net::view<TcpHeader>(reset, 34)->flags, TcpHeader::kRst | TcpHeader::kAck);
  EXPECT_EQ(net::to_string(ip(reset).source), kVm2Address);
  EXPECT_EQ(ethernet(reset).source, vm_mac(2));
  expect_refused(kVm1, to_vm2().udp().frame(), DropReason::RuleReject);
  const Bytes error = only(bed.take(kVm1));
  EXPECT_EQ(icmp(error).code, 13);
  EXPECT_EQ(net::to_string(ip(error).source), "192.168.122.1");
  EXPECT_EQ(ethernet(error).source, kRedMac);
  EXPECT_TRUE(has_good_checksums(error));
  expect_refused(kVm1, with_type(to_vm2().udp().frame(), 0x86dd), DropReason::RuleReject);
  expect_refused(kVm1, to_vm2().tcp(kAck).frame(), DropReason::Rule);
  EXPECT_THAT(bed.take(kVm1), IsEmpty()) << "as after a restart: its opener will speak again";
}

INSTANTIATE_TEST_SUITE_P(Workers, Peers, ::testing::Values(1u, 2u));

}  // namespace
}  // namespace vmnat::test
