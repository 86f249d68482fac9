// SPDX-License-Identifier: Apache-2.0
// Rules where sessions open: outbound, by forwards and mappings, by hairpin; what is refused, told and counted.
#include "tests/support/fixture.h"
#include "tests/support/rule_builder.h"
#include "tests/support/session_views.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::RuleMatch;
using dataplane::WordTable;
using net::IcmpType;
using net::TcpHeader;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kTcp = net::Protocol::Tcp;
constexpr auto kUdp = net::Protocol::Udp;
constexpr auto kIcmp = net::Protocol::Icmp;

net::Ipv4Prefix prefix(const char* text) {
  return net::parse_ipv4_prefix(text).value();
}
Packet outbound(std::uint16_t from = 40000, std::uint16_t to = 80) {
  return Packet().from(vm_mac(1), kVm1Address, from).to(kRedMac, kServer, to);
}
Packet inbound(std::uint16_t to, std::uint16_t from = 4000) {
  return Packet().from(kRouterMac, kServer, from).to(kUplinkMac, kExternal, to);
}

class Rules : public OnTestbed {
 protected:
  explicit Rules(const conntrack::NatPolicy& policy = {}) : OnTestbed(policy) {}
  void SetUp() override {
    OnTestbed::SetUp();
    bed.change_state([](ForwardingState& state) {
      set_forwards(state, {{kTcp, 8080, endpoint(kVm1Address, 80)}, {kUdp, 5353, endpoint(kVm1Address, 53)}});
      state.networks[0].hosts = WordTable<InsideHost>(
          {{net::parse_ipv4(kVm1Address)->raw(), InsideHost{.mac = vm_mac(1), .port = kVm1}}});
    });
  }
  void put(RuleBuilder& rules) { rules.put_into(bed); }
  // The frame opens a session, and leaves by that port.
  void expect_passes(PortIndex from, const Bytes& frame, PortIndex to) {
    bed.exchange(from, frame);
    EXPECT_THAT(bed.take(to), SizeIs(1)) << describe(frame);
  }
  void expect_refused(PortIndex from, const Bytes& frame, DropReason reason) {
    const std::uint64_t before = bed.dropped(reason);
    bed.exchange(from, frame);
    EXPECT_EQ(bed.dropped(reason), before + 1) << describe(frame);
    for (PortIndex port = 0; port < kPortCount; ++port) {
      if (port != from) {
        EXPECT_THAT(bed.take(port), IsEmpty()) << describe(frame);
      }
    }
  }
};

TEST_F(Rules, OutboundFlowsPassByWhatTheyAreAndAnswersPassAnyway) {
  RuleBuilder rules;
  rules.of_port(kVm1).out = {accept({.protocol = kTcp, .remote_ports = {{80, 80}}}),
                             accept({.protocol = kUdp, .remote = prefix("198.51.100.0/24")}),
                             accept({.protocol = kIcmp, .icmp_type = std::uint8_t{8}})};
  rules.of_port(kVm1).in = {drop()};
  put(rules);
  expect_passes(kVm1, outbound(1, 80).tcp(TcpHeader::kSyn).frame(), kUplink);
  expect_refused(kVm1, outbound(1, 81).tcp(TcpHeader::kSyn).frame(), DropReason::Rule);
  expect_passes(kVm1, outbound(40000, 81).udp().frame(), kUplink);
  expect_refused(kVm1, Packet().from(vm_mac(1), kVm1Address, 2).to(kRedMac, "198.51.101.1", 81).udp().frame(),
                 DropReason::Rule);
  expect_passes(kVm1, outbound().icmp_echo(IcmpType::EchoRequest, 7).frame(), kUplink);
  expect_refused(kVm1, outbound().icmp_echo(IcmpType::TimestampRequest, 8).frame(), DropReason::Rule);
  expect_refused(kVm1, outbound().protocol(47).frame(), DropReason::Rule);
  expect_passes(kUplink, inbound(40000, 81).udp().frame(), kVm1);
  EXPECT_THAT(bed.take(kVm1), IsEmpty()) << "what is dropped is dropped in silence";
}

TEST_F(Rules, ASessionThatIsOpenIsNotAskedAbout) {
  expect_passes(kVm1, outbound().udp().frame(), kUplink);
  RuleBuilder rules;
  rules.of_port(kVm1).out = {drop()};
  rules.of_port(kVm1).in = {drop()};
  put(rules);
  expect_passes(kVm1, outbound().udp().frame(), kUplink);
  expect_passes(kUplink, inbound(40000, 80).udp().frame(), kVm1);
  expect_refused(kVm1, outbound(40001).udp().frame(), DropReason::Rule);
}

TEST_F(Rules, ForwardsAreJudgedByTheVmsOwnPort) {
  RuleBuilder rules;
  rules.of_port(kVm1).in = {accept({.protocol = kTcp, .local_ports = {{80, 80}}})};
  put(rules);
  expect_passes(kUplink, inbound(8080).tcp(TcpHeader::kSyn).frame(), kVm1);
  expect_refused(kUplink, inbound(5353).udp().frame(), DropReason::Rule);
}

TEST_F(Rules, ARemoteThatIsRejectedIsToldByAResetOrByIcmp) {
  RuleBuilder rules;
  rules.of_port(kVm1).in = {reject()};
  put(rules);
  expect_refused(kUplink, inbound(8080).tcp(TcpHeader::kSyn).sequence(100).frame(), DropReason::RuleReject);
  const Bytes reset = only(bed.take(kUplink));
  const auto& tcp = *net::view<TcpHeader>(reset, 34);
  EXPECT_EQ(tcp.flags, TcpHeader::kRst | TcpHeader::kAck);
  EXPECT_EQ(to_string(source_of(reset)) + " > " + to_string(destination_of(reset)),
            "203.0.113.2:8080 > 198.51.100.7:4000");
  EXPECT_TRUE(has_good_checksums(reset));
  expect_refused(kUplink, inbound(5353).udp().frame(), DropReason::RuleReject);
  const Bytes error = only(bed.take(kUplink));
  EXPECT_EQ(icmp(error).type, IcmpType::DestinationUnreachable);
  EXPECT_EQ(icmp(error).code, 13);
  EXPECT_EQ(net::to_string(ip(error).source), kExternal);
}

TEST_F(Rules, AVmThatIsRejectedIsToldInTheServersNameOrByItsGateway) {
  RuleBuilder rules;
  rules.of_port(kVm1).out = {reject()};
  put(rules);
  expect_refused(kVm1, outbound().tcp(TcpHeader::kSyn).frame(), DropReason::RuleReject);
  const Bytes reset = only(bed.take(kVm1));
  EXPECT_EQ(net::view<TcpHeader>(reset, 34)->flags, TcpHeader::kRst | TcpHeader::kAck);
  EXPECT_EQ(net::to_string(ip(reset).source), kServer);
  for (const Bytes& frame : {outbound().udp().frame(), outbound().icmp_echo(IcmpType::EchoRequest, 7).frame(),
                             outbound().protocol(47).frame()}) {
    expect_refused(kVm1, frame, DropReason::RuleReject);
    const Bytes error = only(bed.take(kVm1));
    EXPECT_EQ(icmp(error).code, 13) << describe(frame);
    EXPECT_EQ(net::to_string(ip(error).source), "192.168.122.1");
  }
  expect_refused(kVm1, outbound().tcp(TcpHeader::kRst).frame(), DropReason::RuleReject);
  EXPECT_THAT(bed.take(kVm1), IsEmpty()) << "a RST answers none";
}

TEST_F(Rules, ByHairpinTheSenderIsJudgedOnItsWayOutAndTheReceiverByTheExternalAddress) {
  const auto to_forward = [](std::uint16_t from) {
    return Packet()
        .from(vm_mac(2), kVm2Address, from)
        .to(kRedMac, kExternal, 8080)
        .tcp(TcpHeader::kSyn)
        .frame();
  };
  bed.learn(kVm2, vm_mac(2));
  RuleBuilder rules;
  rules.of_port(kVm1).in = {accept({.remote = prefix("203.0.113.2/32")})};
  put(rules);
  expect_passes(kVm2, to_forward(1000), kVm1);
  rules.of_port(kVm1).in = {accept({.remote = prefix("192.168.122.0/24")}), accept({.peer = kVm2})};
  put(rules);
  expect_refused(kVm2, to_forward(1001), DropReason::Rule);
  rules.of_port(kVm1).in.clear();
  rules.of_port(kVm2).out = {drop({.remote = prefix("203.0.113.2/32")})};
  put(rules);
  expect_refused(kVm2, to_forward(1002), DropReason::Rule);
}

TEST_F(Rules, TheGatewayAnswersWhateverTheRulesSay) {
  RuleBuilder rules;
  rules.of_port(kVm1).out = {drop()};
  rules.of_port(kVm1).in = {drop()};
  put(rules);
  bed.exchange(kVm1, Packet()
                         .from(vm_mac(1), kVm1Address)
                         .to(kRedMac, "192.168.122.1")
                         .icmp_echo(IcmpType::EchoRequest, 9)
                         .frame());
  bed.exchange(
      kVm1, arp(net::ArpOperation::Request, vm_mac(1), kVm1Address, {}, "192.168.122.1", net::kBroadcastMac));
  EXPECT_THAT(bed.take(kVm1), SizeIs(2));
  bed.exchange(
      kVm1,
      Packet().from(vm_mac(1), "0.0.0.0", 68).to(net::kBroadcastMac, "255.255.255.255", 67).udp().frame());
  EXPECT_THAT(bed.take_punted(), SizeIs(1));
}

TEST_F(Rules, OfEachFlowTheFirstFrameIsCountedAndOfWhatIsRefusedAll) {
  RuleBuilder rules;
  rules.of_port(kVm1).out = {accept({.protocol = kUdp}), drop({.protocol = kTcp})};
  put(rules);
  const Bytes datagram = outbound().udp().frame();
  for (int i = 0; i < 3; ++i) bed.put(kVm1, datagram);  // in one burst
  bed.run();
  EXPECT_THAT(bed.take(kUplink), SizeIs(3));
  for (int i = 0; i < 4; ++i) bed.put(kVm1, outbound().tcp(TcpHeader::kSyn).frame());
  bed.run();
  EXPECT_EQ(rules.of_port(kVm1).out[0].account->packets(), 1u);
  EXPECT_EQ(rules.of_port(kVm1).out[0].account->bytes(), datagram.size());
  EXPECT_EQ(rules.of_port(kVm1).out[1].account->packets(), 4u);
  EXPECT_EQ(bed.dropped(DropReason::Rule), 4u);
}

TEST_F(Rules, AFlushEndsTheSessionsThatTheyDoNotAccept) {
  for (const std::uint16_t to : {80, 81, 82}) expect_passes(kVm1, outbound(40000, to).udp().frame(), kUplink);
  RuleBuilder rules;
  rules.of_port(kVm1).out = {drop({.protocol = kUdp, .remote_ports = {{81, 81}}})};
  put(rules);
  const auto ticket = bed.flush_box(0).ask({.rules = rules.made_for([] {
    ForwardingState state;
    state.ports.resize(kPortCount);
    for (PortIndex port = 1; port < kPortCount; ++port) state.ports[port].network = 0;
    return state;
  }())});
  for (unsigned polls = 0; !bed.flush_box(0).answer_to(ticket) && polls < 1000; ++polls) bed.poll();
  EXPECT_EQ(bed.flush_box(0).answer_to(ticket), 1u);
  for (const auto& view : views_of(bed.worker(0).conntrack())) EXPECT_NE(view.remote.port.host(), 81);
}

TEST_F(Rules, WhatIsLoggedIsTold) {
  RuleBuilder rules;
  auto logged = drop({.protocol = kTcp});
  logged.is_logged = true;
  rules.of_port(kVm1).out = {logged};
  std::shared_ptr<const dataplane::FilterRules> made;
  bed.change_state([&](ForwardingState& state) {
    made = state.rules = rules.made_for(state);
    state.ports[kVm1].has_rules = true;
  });
  expect_refused(kVm1, outbound(4000, 81).tcp(TcpHeader::kSyn).frame(), DropReason::Rule);
  dataplane::RuleEvent event;
  ASSERT_TRUE(made->events(0).take(event));
  EXPECT_EQ(event.rule, 0u);
  EXPECT_EQ(event.port, kVm1);
  EXPECT_EQ(event.direction, Direction::Outbound);
  EXPECT_EQ(net::to_string(event.remote), kServer);
  EXPECT_EQ(event.remote_port.host(), 81);
  EXPECT_EQ(event.local_port.host(), 4000);
  EXPECT_FALSE(made->events(0).take(event));
}

struct RulesOfMappings : Rules {
  RulesOfMappings() : Rules({.filtering = conntrack::Filtering::EndpointIndependent}) {}
};

TEST_F(RulesOfMappings, WhatAFilterLetsInTheRulesMayKeepOut) {
  RuleBuilder rules;
  rules.of_port(kVm1).in = {drop({.remote = prefix("198.51.100.7/32")})};
  put(rules);
  expect_passes(kVm1, outbound(40000, 80).udp().frame(), kUplink);
  expect_refused(kUplink, inbound(40000, 99).udp().frame(), DropReason::Rule);
  const Bytes of_another =
      Packet().from(kRouterMac, "198.51.100.8", 99).to(kUplinkMac, kExternal, 40000).udp().frame();
  expect_passes(kUplink, of_another, kVm1);
}

}  // namespace
}  // namespace vmnat::test
