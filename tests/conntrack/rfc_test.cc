// SPDX-License-Identifier: Apache-2.0
// The requirements of the NAT RFCs that conntrack answers for, one test each; docs/compliance.md lists them.
#include <set>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

const net::Endpoint kVm = endpoint("192.168.122.10", 40000);
const net::Endpoint kOtherVm = endpoint("192.168.122.11", 40000);
const net::Endpoint kA = endpoint("198.51.100.1", 443);
const net::Endpoint kAOtherPort = endpoint("198.51.100.1", 8443);
const net::Endpoint kB = endpoint("198.51.100.2", 443);
const net::Endpoint kDns = endpoint("198.51.100.1", 53);
const net::Endpoint kGame = endpoint("198.51.100.1", 27015);
constexpr Ticks kSecond{std::chrono::seconds(1)};

NatPolicy with(Filtering filtering) {
  return {.filtering = filtering};
}

// Segments of one TCP session, by direction, after the SYN that opened it; numbered as its ends would.
struct Connection {
  Nat nat;
  Session* session;
  std::array<std::uint32_t, 2> next{100, 0xffff'ff00};  // sequence number of either side
  explicit Connection(const NatPolicy& policy = {}) : nat({}, policy), session(nat.open(kVm, kA, kTcp)) {
    after(kOut, kSyn);
  }
  SessionState after(Direction direction, std::uint8_t flags, Time now = {}, std::uint32_t payload = 0) {
    const auto side = static_cast<unsigned>(direction);
    const TcpSegment segment{next[side], next[1 - side], payload, flags};
    next[side] = segment.end();
    return after(direction, segment, now);
  }
  // As a stranger would, whose numbers are `off` the right ones.
  SessionState after_forged(std::uint8_t flags, std::uint32_t off, Time now = {}) {
    return after(kIn, {next[1] + off, next[0] + off, 0, flags}, now);
  }
  SessionState after(Direction direction, const TcpSegment& segment, Time now) {
    follow_tcp(*nat, *session, direction, segment, now);
    return session->state();
  }
  void establish(Time now = {}) {
    after(kIn, kSyn | kAck, now);
    after(kOut, kAck, now);
  }
  // Whether the session is there after resting for `idle`.
  bool lasts(Time since, Ticks idle) {
    nat.expire_all(since + idle);
    return nat->find(FlowKey::of(kVm, kA, kTcp)) != nullptr;
  }
};

// ---- RFC 4787: UDP

TEST(Rfc4787, Req1_EndpointIndependentMapping) {
  Nat nat;
  nat.open(kOtherVm, kA);  // has port 40000
  const net::Endpoint external = nat.open(kVm, kA)->external();
  EXPECT_EQ(nat.open(kVm, kAOtherPort)->external(), external);
  EXPECT_EQ(nat.open(kVm, kB)->external(), external);
  EXPECT_EQ(nat->statistics().mappings, 2u);
}

TEST(Rfc4787, Req1_TheMappingLastsAsLongAsOneOfItsSessions) {
  Nat nat;
  nat.open(kOtherVm, kA);
  const net::Endpoint external = nat.open(kVm, kA)->external();
  Session* second = nat.open(kVm, kB);
  nat->erase(*nat->find(FlowKey::of(kVm, kA, kUdp)), {});
  EXPECT_EQ(nat.open(kVm, kAOtherPort)->external(), external);
  nat->erase(*second, {});
  nat->erase(*nat->find(FlowKey::of(kVm, kAOtherPort, kUdp)), {});
  EXPECT_EQ(nat->statistics().mappings, 1u);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Rfc4787, Req1_EndpointDependentMappingOnlyWhenAskedFor) {
  Nat nat({}, {.mapping = Mapping::EndpointDependent});
  EXPECT_NE(nat.open(kVm, kA)->external(), nat.open(kVm, kB)->external());
  EXPECT_EQ(nat->statistics().mappings, 0u);
}

TEST(Rfc4787, Req1_AForwardIsTheMappingOfItsInternalEndpoint) {
  const net::Endpoint external = endpoint("203.0.113.1", 123), ntp = endpoint("192.168.122.10", 123);
  for (const Mapping mapping : {Mapping::EndpointIndependent, Mapping::EndpointDependent})
    for (const net::Protocol protocol : {kUdp, kTcp}) {
      Nat nat({}, {.mapping = mapping});
      for (const net::Endpoint remote : {kA, kB}) {
        const Opened opened = nat.try_open_forwarded(ntp, external, remote, protocol);
        ASSERT_EQ(opened.verdict, Verdict::Opened);
        EXPECT_EQ(opened.session->external(), external);
        EXPECT_EQ(nat.try_forward(external, ntp, remote, protocol, 0).session, opened.session)
            << "what the remote sends to the forward is the same session";
      }
      Session* invited = nat.try_forward(external, ntp, kAOtherPort, protocol, 0).session;
      EXPECT_EQ(nat.try_open_forwarded(ntp, external, kAOtherPort, protocol).session, invited);
      EXPECT_EQ(nat->statistics().active, 3u);
      EXPECT_EQ(nat.broken_invariant(), "");
    }
}

TEST(Rfc4787, Req1_AForwardThatHasLedElsewhereKeepsItsSessions) {
  Nat nat({.reserved = {4500}});
  const net::Endpoint external = endpoint("203.0.113.1", 4500);
  Session* former = nat.try_open_forwarded(kOtherVm, external, kA, kUdp).session;
  ASSERT_NE(former, nullptr);
  const Opened opened = nat.try_open_forwarded(kVm, external, kA, kUdp);
  ASSERT_EQ(opened.verdict, Verdict::Opened);
  EXPECT_NE(opened.session->external(), external) << "that tuple is the other VM's still";
  EXPECT_EQ(nat.try_open_forwarded(kVm, external, kB, kUdp).session->external(), external);
  EXPECT_EQ(nat.broken_invariant(), "");
  for (Session* session : {former, opened.session}) nat->erase(*session, {});
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Rfc4787, Req2_AnInternalAddressStaysOnOneExternalAddress) {
  Nat nat({.addresses = 8});
  std::set<net::Ipv4Addr> addresses;
  for (unsigned vm = 1; vm < 100; ++vm) {
    std::set<net::Ipv4Addr> of_vm;
    for (unsigned port = 0; port < 20; ++port) {
      const net::Endpoint internal{net::Ipv4Addr::from_host(0xc0a87a00 + vm),
                                   net::L4Port::from_host(static_cast<std::uint16_t>(2000 + port))};
      for (const net::Protocol protocol : {kUdp, kTcp})
        of_vm.insert(nat.open(internal, kA, protocol)->external().address);
    }
    EXPECT_EQ(of_vm.size(), 1u);
    addresses.insert(*of_vm.begin());
  }
  EXPECT_EQ(addresses.size(), 8u);  // and all of the pool is used
}

TEST(Rfc4787, Req2_OtherAddressesServeOnlyWhenThePairedOneIsFull) {
  Nat nat({.addresses = 2, .first_port = 2000, .last_port = 2009});
  std::set<net::Ipv4Addr> addresses;
  for (unsigned port = 0; port < 10; ++port)
    addresses.insert(nat.open(endpoint("192.168.122.10", 5000 + port), kA)->external().address);
  EXPECT_EQ(addresses.size(), 1u);
  addresses.insert(nat.open(endpoint("192.168.122.10", 5010), kA)->external().address);
  EXPECT_EQ(addresses.size(), 2u);
}

TEST(Rfc4787, Req3_NoPortIsOverloadedWhileOneIsFree) {
  Nat nat({.first_port = 2000, .last_port = 2099});
  std::set<net::Endpoint> externals;
  for (unsigned port = 0; port < 100; ++port) {
    // Different remotes: overloading would be possible at once.
    externals.insert(
        nat.open(endpoint("192.168.122.10", 5000 + port), endpoint("198.51.100.1", 1000 + port))->external());
  }
  EXPECT_EQ(externals.size(), 100u);
  EXPECT_EQ(nat->statistics().overloaded, 0u);
}

TEST(Rfc4787, Req3a_PortsBelow1024AreNeverGiven) {
  Nat nat({.capacity = 3000});
  for (unsigned port = 1; port < 1024; ++port)
    EXPECT_GE(nat.open(endpoint("192.168.122.10", port), kA)->external().port.host(), 1024);
}

// The first datagram of that side, or its next one.
void pass(Nat& nat, Session& session, Direction direction, Time now) {
  count(session, direction, 60);
  keep_alive(session, direction, now);
  ASSERT_EQ(nat.broken_invariant(), "");
}

// How long the session lasts when nothing more is sent, by whole seconds.
std::chrono::seconds life_of(Nat& nat, const Session& session) {
  const SessionView view = *view_of(*nat, session.outbound_key());
  return std::chrono::duration_cast<std::chrono::seconds>(view.expires - view.last_seen);
}

TEST(Rfc4787, Req5_UdpSessionsLastFiveMinutesByDefault) {
  Nat nat;
  nat.open(kVm, kGame);
  nat.expire_all(at_seconds(291));  // whose turns end at 299 s
  EXPECT_NE(nat->find(FlowKey::of(kVm, kGame, kUdp)), nullptr);
  nat.expire_all(at_seconds(300));
  EXPECT_EQ(nat->find(FlowKey::of(kVm, kGame, kUdp)), nullptr);
}

TEST(Rfc4787, Req5a_OneQuestionToAWellKnownPortLastsThirtySecondsAnsweredOrNot) {
  for (const unsigned service : {53u, 123u, 1023u, 1024u, 4500u}) {
    Nat nat;
    Session& session = *nat.open(kVm, endpoint("198.51.100.1", service));
    const std::chrono::seconds expected(service < 1024 ? 30 : 300);
    for (const Direction direction : {kOut, kOut, kIn, kIn}) {  // asked twice, answered twice
      EXPECT_EQ(life_of(nat, session), expected) << service;
      pass(nat, session, direction, at_seconds(10));
    }
    EXPECT_EQ(life_of(nat, session), expected) << service;
    nat.expire_all(at_seconds(40));
    EXPECT_EQ(nat->statistics().active, service < 1024 ? 0u : 1u) << service;
  }
}

TEST(Rfc4787, Req5a_WhoeverSendsAgainAfterAnAnswerDoesMoreThanAsk) {
  Nat nat;
  Session& session = *nat.open(kVm, endpoint("198.51.100.1", 443));
  for (const Direction direction : {kOut, kIn, kOut}) pass(nat, session, direction, at_seconds(1));
  EXPECT_EQ(life_of(nat, session), std::chrono::minutes(5));
  EXPECT_EQ(session.last_seen(), at_seconds(1));
}

TEST(Rfc4787, Req5a_AMappingLastsAsLongAsItsLongestSession) {
  Nat nat;
  const net::Endpoint external = nat.open(kVm, kDns)->external();
  nat.open(kVm, kGame);
  nat.expire_all(at_seconds(120));
  EXPECT_EQ(nat->statistics().active, 1u);
  EXPECT_EQ(nat.open(kVm, kDns, kUdp, at_seconds(130))->external(), external);
}

TEST(Rfc4787, Req5a_QuestionsToAForwardOfAWellKnownServiceLastThirtySeconds) {
  Nat nat;
  Session& asked =
      *nat.try_forward(endpoint("203.0.113.1", 5353), endpoint("192.168.122.10", 53), kGame, kUdp, 0).session;
  Session& played =
      *nat.try_forward(endpoint("203.0.113.1", 9000), endpoint("192.168.122.10", 9000), kDns, kUdp, 0)
           .session;
  for (const Direction direction : {kIn, kOut, kOut}) {
    for (Session* session : {&asked, &played}) pass(nat, *session, direction, at_seconds(1));
    EXPECT_EQ(life_of(nat, asked), std::chrono::seconds(30));
    EXPECT_EQ(life_of(nat, played), std::chrono::minutes(5));
  }
  pass(nat, asked, kIn, at_seconds(2));
  EXPECT_EQ(life_of(nat, asked), std::chrono::minutes(5)) << "the remote asks again";
}

TEST(Rfc4787, Req5a_ItsTimeIsConfigurableAndNeverLongerThanThatOfOthers) {
  for (const unsigned udp : {300u, 10u}) {
    Nat nat({}, {.timeouts = {.udp = std::chrono::seconds(udp), .udp_answered = std::chrono::seconds(60)}});
    EXPECT_EQ(life_of(nat, *nat.open(kVm, kDns)), std::chrono::seconds(std::min(udp, 60u)));
  }
}

TEST(Rfc4787, Req5_TheUdpTimeoutIsConfigurable) {
  Nat nat({}, {.timeouts = {.udp = std::chrono::seconds(120)}});
  nat.open(kVm, kGame);
  nat.expire_all(at_seconds(111));
  EXPECT_EQ(nat->statistics().active, 1u);
  nat.expire_all(at_seconds(120));
  EXPECT_EQ(nat->statistics().active, 0u);
}

TEST(Rfc4787, Req6_OutboundPacketsRefresh) {
  Nat nat;
  keep_alive(*nat.open(kVm, kGame), kOut, at_seconds(200));
  nat.expire_all(at_seconds(480));
  EXPECT_EQ(nat->statistics().active, 1u);
}

TEST(Rfc4787, Req6_InboundPacketsRefreshOnceTheVmHasSpoken) {
  Nat nat({}, with(Filtering::EndpointIndependent));
  Session* asked = nat.open(kVm, kA);
  keep_alive(*asked, kIn, at_seconds(200));
  EXPECT_EQ(asked->last_seen(), at_seconds(200));
  // A stranger's session: its own packets cannot keep it.
  Session* stranger = nat.try_inbound(asked->external(), kB).session;
  ASSERT_NE(stranger, nullptr);
  keep_alive(*stranger, kIn, at_seconds(250));
  EXPECT_EQ(stranger->last_seen(), at_seconds(0));
  keep_alive(*stranger, kOut, at_seconds(260));
  keep_alive(*stranger, kIn, at_seconds(270));
  EXPECT_EQ(stranger->last_seen(), at_seconds(270));
}

TEST(Rfc4787, Req8_AddressAndPortDependentFilteringLetsOnlyTheRemoteItselfIn) {
  Nat nat;
  const net::Endpoint external = nat.open(kVm, kA)->external();
  EXPECT_NE(nat->find(FlowKey::of(external, kA, kUdp)), nullptr);
  EXPECT_EQ(nat.try_inbound(external, kAOtherPort).verdict, Verdict::Filtered);
  EXPECT_EQ(nat.try_inbound(external, kB).verdict, Verdict::Filtered);
}

TEST(Rfc4787, Req8_AddressDependentFilteringLetsTheRemoteAddressIn) {
  Nat nat({}, with(Filtering::AddressDependent));
  Session* session = nat.open(kVm, kA);
  const net::Endpoint external = session->external();
  EXPECT_EQ(nat.try_inbound(external, kB).verdict, Verdict::Filtered);
  EXPECT_EQ(nat.try_inbound(external, kAOtherPort, kTcp).verdict,
            Verdict::Filtered);  // each protocol by itself
  const Opened inbound = nat.try_inbound(external, kAOtherPort);
  ASSERT_EQ(inbound.verdict, Verdict::Opened);
  EXPECT_EQ(inbound.session->internal(), kVm);
  nat->erase(*session, {});
  nat->erase(*inbound.session, {});
  nat.open(kVm, kB);
  EXPECT_EQ(nat.try_inbound(nat->find(FlowKey::of(kVm, kB, kUdp))->external(), kAOtherPort).verdict,
            Verdict::Filtered);
}

TEST(Rfc4787, Req8_EndpointIndependentFilteringLetsAnyoneIn) {
  Nat nat({}, with(Filtering::EndpointIndependent));
  const net::Endpoint external = nat.open(kVm, kA)->external();
  const Opened inbound = nat.try_inbound(external, kB);
  ASSERT_EQ(inbound.verdict, Verdict::Opened);
  EXPECT_EQ(inbound.session->internal(), kVm);
  EXPECT_EQ(nat->find(FlowKey::of(kVm, kB, kUdp)), inbound.session);  // the answer's way
  EXPECT_EQ(nat.try_inbound(endpoint("203.0.113.1", 50000), kB).verdict,
            Verdict::Filtered);  // nothing is mapped there
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Rfc4787, Req9_HairpinnedFramesAreSeenFromTheExternalEndpoint) {
  // VM to VM by external endpoints: an outbound session of the one, an inbound one of the other.
  Nat nat({}, with(Filtering::EndpointIndependent));
  const net::Endpoint of_other = nat.open(kOtherVm, kA)->external();
  Session* out = nat.open(kVm, of_other);
  const Opened in = nat.try_inbound(of_other, out->external());
  ASSERT_EQ(in.verdict, Verdict::Opened);
  EXPECT_EQ(in.session->remote(), out->external());
  EXPECT_EQ(in.session->rewrite<Direction::Inbound>().endpoint, kOtherVm);
  EXPECT_EQ(nat->find(FlowKey::of(kOtherVm, out->external(), kUdp)), in.session);
}

TEST(Rfc4787, Req11_EqualHistoriesGiveEqualBehaviour) {
  Nat one({.addresses = 3}), two({.addresses = 3});
  for (unsigned i = 0; i < 2000; ++i) {
    const net::Endpoint internal{net::Ipv4Addr::from_host(0xc0a87a00 + i % 50),
                                 net::L4Port::from_host(static_cast<std::uint16_t>(1000 + i / 50))};
    EXPECT_EQ(one.open(internal, kA)->external(), two.open(internal, kA)->external());
  }
}

// ---- RFC 5382: TCP

TEST(Rfc5382, Req1_EndpointIndependentMapping) {
  Nat nat;
  EXPECT_EQ(nat.open(kVm, kA, kTcp)->external(), nat.open(kVm, kB, kTcp)->external());
}

TEST(Rfc5382, Req2_ThreeSegmentsEstablish) {
  Connection tcp;
  EXPECT_EQ(tcp.session->state(), SessionState::SynOutbound);
  EXPECT_EQ(tcp.after(kIn, kSyn | kAck), SessionState::SynAcknowledged);
  EXPECT_EQ(tcp.after(kOut, kAck), SessionState::Established);
}

TEST(Rfc5382, Req2_SimultaneousOpenEstablishes) {
  Connection tcp;
  EXPECT_EQ(tcp.after(kIn, kSyn), SessionState::SynCrossed);
  EXPECT_EQ(tcp.after(kOut, kSyn | kAck), SessionState::Established);
  EXPECT_EQ(tcp.after(kIn, kSyn | kAck), SessionState::Established);
}

TEST(Rfc5382, Req2_ASegmentOfNoSessionOpensNone) {
  Nat nat;
  for (const int flags : {0, +kAck, kSyn | kAck, kFin | kAck, +kRst, kSyn | kRst, kSyn | kFin}) {
    const OutboundFlow flow{.key = FlowKey::of(kVm, kA, kTcp), .tcp_flags = static_cast<std::uint8_t>(flags)};
    EXPECT_EQ(nat->open_outbound(flow, 0, {}).verdict, Verdict::TcpNotSyn) << flags;
  }
  EXPECT_EQ(nat->statistics().active, 0u);
}

TEST(Rfc5382, Req3_InboundConnectionsByTheFilter) {
  Nat nat({}, with(Filtering::EndpointIndependent));
  const net::Endpoint external = nat.open(kVm, kA, kTcp)->external();
  Session* inbound = nat.try_inbound(external, kB, kTcp).session;
  ASSERT_NE(inbound, nullptr);
  EXPECT_EQ(inbound->state(), SessionState::SynInbound);
  follow_tcp(*nat, *inbound, kOut, {100, 901, 0, kSyn | kAck}, {});
  follow_tcp(*nat, *inbound, kIn, {901, 101, 0, kAck}, {});
  EXPECT_EQ(inbound->state(), SessionState::Established);
}

TEST(Rfc5382, Req5_EstablishedConnectionsLastTwoHoursAndFourMinutes) {
  Connection tcp;
  tcp.establish();
  EXPECT_TRUE(tcp.lasts({}, std::chrono::minutes(124) - 9 * kSecond));
  EXPECT_FALSE(tcp.lasts({}, std::chrono::minutes(124)));
}

TEST(Rfc5382, Req5_HalfOpenConnectionsLastFourMinutes) {
  for (const unsigned segments : {0u, 1u}) {
    Connection tcp;
    if (segments == 1) tcp.after(kIn, kSyn | kAck);
    EXPECT_TRUE(tcp.lasts({}, 231 * kSecond));
    EXPECT_FALSE(tcp.lasts({}, 240 * kSecond));
  }
}

TEST(Rfc5382, Req5_ClosedConnectionsLastFourMinutes) {
  Connection tcp;
  tcp.establish();
  tcp.after(kOut, kFin | kAck);
  EXPECT_EQ(tcp.after(kIn, kFin | kAck), SessionState::Closing);
  tcp.after(kOut, kAck);
  EXPECT_TRUE(tcp.lasts({}, 231 * kSecond));
  EXPECT_FALSE(tcp.lasts({}, 240 * kSecond));
}

TEST(Rfc5382, Req7_NoPortIsOverloadedWhileOneIsFree) {
  Nat nat({.first_port = 2000, .last_port = 2049});
  std::set<net::Endpoint> externals;
  for (unsigned port = 0; port < 50; ++port) {
    externals.insert(
        nat.open(endpoint("192.168.122.10", 5000 + port), endpoint("198.51.100.1", 1000 + port), kTcp)
            ->external());
  }
  EXPECT_EQ(externals.size(), 50u);
}

// ---- RFC 5508: ICMP

TEST(Rfc5508, Req1_IdentifiersAreMappedIndependentlyOfTheRemote) {
  Nat nat;
  const net::Endpoint vm = endpoint("192.168.122.10", 7), other = endpoint("192.168.122.11", 7);
  const net::Endpoint external = nat.open(vm, endpoint("198.51.100.1", 0), kIcmp)->external();
  EXPECT_EQ(nat.open(vm, endpoint("198.51.100.2", 0), kIcmp)->external(), external);
  const Session* clashing = nat.open(other, endpoint("198.51.100.1", 0), kIcmp);
  EXPECT_NE(clashing->external(), external);
  EXPECT_EQ(nat->find(FlowKey::of(clashing->external(), endpoint("198.51.100.1", 0), kIcmp)), clashing);
}

TEST(Rfc5508, Req2_QueriesLastSixtySeconds) {
  Nat nat;
  nat.open(endpoint("192.168.122.10", 7), endpoint("198.51.100.1", 0), kIcmp);
  nat.expire_all(at_seconds(51));
  EXPECT_EQ(nat->statistics().active, 1u);
  nat.expire_all(at_seconds(60));
  EXPECT_EQ(nat->statistics().active, 0u);
}

TEST(Rfc5508, Req6_FindingASessionForAnErrorChangesNothing) {
  Connection tcp;
  tcp.establish(at_seconds(1));
  const SessionState state = tcp.session->state();
  EXPECT_EQ(tcp.nat->find(tcp.session->inbound_key()), tcp.session);
  EXPECT_EQ(rewrite_of(*tcp.session, kIn).endpoint, kVm);
  EXPECT_EQ(tcp.session->state(), state);
  EXPECT_EQ(tcp.session->last_seen(), at_seconds(1));
}

// ---- RFC 6888: carrier-grade NAT

TEST(Rfc6888, Req2_PairedPoolingIsTheDefault) {
  Nat nat({.addresses = 4});
  std::set<net::Ipv4Addr> addresses;
  for (unsigned port = 0; port < 500; ++port)
    addresses.insert(nat.open(endpoint("192.168.122.77", 3000 + port), kA)->external().address);
  EXPECT_EQ(addresses.size(), 1u);
}

TEST(Rfc6888, Req3_PoolsOfAnyShape) {
  const std::vector<ExternalAddress> addresses{{Nat::external_address(9), 1024, 1030, {1025, 1026}},
                                               {Nat::external_address(3), 65535, 65535, {}},
                                               {Nat::external_address(200), 1, 1, {}}};
  const auto external = ExternalAddresses::of(addresses);
  const auto ports = ExternalPorts::create(3, 1);
  const std::vector<ExternalIndex> all{0, 1, 2};
  const NatPolicy policy{.addresses = all, .overload = false};
  const auto nat = Conntrack::create({.capacity = 100, .vm_ports = 1}, *ports, *external, {&policy, 1});
  unsigned opened = 0;
  for (unsigned port = 0; port < 20; ++port) {
    const OutboundFlow flow{.key = FlowKey::of(endpoint("192.168.122.10", 5000 + port), kA, kUdp)};
    opened += nat->open_outbound(flow, 0, {}).verdict == Verdict::Opened;
  }
  EXPECT_EQ(opened, 5u + 1u + 1u);
}

TEST(Rfc6888, Req4_SessionsOfAPortAreLimited) {
  Nat nat({}, {.sessions_per_port = 10});
  for (unsigned i = 0; i < 10; ++i)
    EXPECT_NE(nat.open(endpoint("192.168.122.10", 2000 + i), kA, kUdp, {}, 1), nullptr);
  EXPECT_EQ(nat.try_open(kVm, kA, kUdp, {}, 1).verdict, Verdict::SessionLimit);
  EXPECT_EQ(nat.try_open(kVm, kA, kUdp, {}, 2).verdict, Verdict::Opened);  // another VM's port
  nat->erase(*nat->find(FlowKey::of(endpoint("192.168.122.10", 2000), kA, kUdp)), {});
  EXPECT_EQ(nat.try_open(kOtherVm, kA, kUdp, {}, 1).verdict, Verdict::Opened);
  EXPECT_EQ(sessions_of(*nat, 1), 10u);
}

TEST(Rfc6888, Req4_ASessionThatMovesCountsWhereItIs) {
  Nat nat({}, {.sessions_per_port = 2});
  Session* session = nat.open(kVm, kA, kUdp, {}, 1);
  nat->move_to(*session, 2, net::MacAddr{{2, 0, 0, 0, 0, 1}});
  EXPECT_EQ(sessions_of(*nat, 1), 0u);
  EXPECT_EQ(sessions_of(*nat, 2), 1u);
  EXPECT_EQ(session->vm_port(), 2);
  EXPECT_EQ(session->internal_mac(), (net::MacAddr{{2, 0, 0, 0, 0, 1}}));
  nat->erase(*session, {});
  EXPECT_EQ(sessions_of(*nat, 2), 0u);
}

TEST(Rfc6888, Req5_NewSessionsOfAPortAreLimitedInRate) {
  Nat nat({}, {.new_sessions_per_second = 100});
  unsigned next = 0;
  const auto opened_at = [&](Time now, unsigned offered) {
    unsigned opened = 0;
    for (unsigned i = 0; i < offered; ++i)
      opened += nat.open(endpoint("192.168.122.10", 2000 + next++), kA, kUdp, now, 1) != nullptr;
    return opened;
  };
  EXPECT_EQ(opened_at(at_seconds(100), 300), 100u);            // a second's worth at once
  EXPECT_EQ(opened_at(at_seconds(100) + Ticks{4}, 300), 25u);  // a quarter later
  EXPECT_EQ(opened_at(at_seconds(1000), 300), 100u);           // rest is not saved up
  EXPECT_EQ(nat.try_open(kVm, kA, kUdp, at_seconds(1000), 1).verdict, Verdict::SessionRate);
  EXPECT_EQ(nat.try_open(kVm, kA, kUdp, at_seconds(1000), 2).verdict, Verdict::Opened);
}

TEST(Rfc6888, Req8_AFreedPortRestsForTwoMinutes) {
  Nat nat;
  Session* session = nat.open(kVm, kA);
  const net::Endpoint external = session->external();
  nat->erase(*session, at_seconds(10));
  for (unsigned vm = 0; vm < 200; ++vm) {
    const net::Endpoint internal{net::Ipv4Addr::from_host(0xc0a87b00 + vm),
                                 external.port};  // all ask for that port
    EXPECT_NE(nat.open(internal, kA, kUdp, at_seconds(129))->external(), external);
  }
  EXPECT_EQ(nat.open(endpoint("192.168.124.1", 40000), kA, kUdp, at_seconds(250))->external(), external);
}

TEST(Rfc6888, Req11_AFullTableRefusesAndEndsNoAnsweredSession) {
  Nat nat({.capacity = 100});
  std::vector<Session*> sessions;
  for (unsigned i = 0; i < 100; ++i) {
    sessions.push_back(nat.open(endpoint("192.168.122.10", 2000 + i), kA));
    for (const Direction direction : {kOut, kIn}) count(*sessions.back(), direction, 60);
  }
  EXPECT_EQ(nat.try_open(kVm, kA).verdict, Verdict::TableFull);
  for (unsigned i = 0; i < 100; ++i)
    EXPECT_EQ(nat->find(FlowKey::of(endpoint("192.168.122.10", 2000 + i), kA, kUdp)), sessions[i]);
  nat->erase(*sessions[50], {});
  EXPECT_EQ(nat.try_open(kVm, kA).verdict, Verdict::Opened);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Rfc6888, Req11_ExhaustedPortsRefuseAndDeleteNothing) {
  Nat nat({.first_port = 2000, .last_port = 2009}, {.overload = false});
  for (unsigned i = 0; i < 10; ++i) ASSERT_NE(nat.open(endpoint("192.168.122.10", 5000 + i), kA), nullptr);
  EXPECT_EQ(nat.try_open(kVm, kA).verdict, Verdict::NoFreePort);
  EXPECT_EQ(nat->statistics().active, 10u);
}

TEST(Rfc6888, Req13_PortsServeAgainTowardsOtherRemotes) {
  Nat nat({.first_port = 2000, .last_port = 2009});
  for (unsigned i = 0; i < 10; ++i) ASSERT_NE(nat.open(endpoint("192.168.122.10", 5000 + i), kA), nullptr);
  const Opened overloading = nat.try_open(kVm, kB);
  ASSERT_EQ(overloading.verdict, Verdict::Opened);
  EXPECT_EQ(nat.try_open(kVm, kA).verdict, Verdict::NoFreePort);
  EXPECT_EQ(nat->find(FlowKey::of(overloading.session->external(), kB, kUdp)), overloading.session);
  EXPECT_NE(nat->find(FlowKey::of(overloading.session->external(), kA, kUdp)), overloading.session);
}

TEST(Rfc6888, Req15_PortsAreHardToGuessWhenNotPreserved) {
  Nat nat({.seed = 99});
  nat.open(kOtherVm, kA);
  std::set<int> steps;
  int last = 0;
  for (unsigned vm = 0; vm < 50; ++vm) {
    const int port =
        nat.open({net::Ipv4Addr::from_host(0xc0a87b00 + vm), kVm.port}, kA)->external().port.host();
    steps.insert(port - last);
    last = port;
  }
  EXPECT_GT(steps.size(), 30u);
}

// ---- RFC 7857: updates

TEST(Rfc7857, Section2_1_AHalfClosedConnectionKeepsTheLongTimeout) {
  for (const Direction closing : {kOut, kIn}) {
    Connection tcp;
    tcp.establish();
    tcp.after(closing, kFin | kAck);
    EXPECT_TRUE(tcp.lasts({}, std::chrono::minutes(124) - 9 * kSecond));
    EXPECT_FALSE(tcp.lasts({}, std::chrono::minutes(124)));
  }
}

TEST(Rfc7857, Section2_2_ARstLeavesTheSessionForFourMinutes) {
  Connection tcp;
  tcp.establish();
  EXPECT_EQ(tcp.after(kIn, kRst), SessionState::Reset);
  EXPECT_TRUE(tcp.lasts({}, 231 * kSecond));
  EXPECT_FALSE(tcp.lasts({}, 240 * kSecond));
}

TEST(Rfc7857, Section2_2_AForgedRstIsUndoneByTheConnectionsNextSegment) {
  Connection tcp;
  tcp.establish();
  tcp.after(kIn, kRst);
  EXPECT_EQ(tcp.after(kOut, kAck), SessionState::Established);
  EXPECT_TRUE(tcp.lasts({}, std::chrono::minutes(120)));
}

TEST(Rfc7857, Section2_2_ARstAfterFinIsTheEnd) {
  Connection tcp;
  tcp.establish();
  tcp.after(kIn, kFin | kAck);
  tcp.after(kOut, kAck);
  EXPECT_EQ(tcp.after(kOut, kRst | kAck), SessionState::Closing);
  EXPECT_EQ(tcp.after(kIn, kAck), SessionState::Closing);
}

TEST(Rfc7857, Section2_ANewSynReopensAClosedTuple) {
  Connection tcp;
  tcp.establish();
  tcp.after(kOut, kFin | kAck);
  tcp.after(kIn, kFin | kAck);
  EXPECT_EQ(tcp.after(kOut, kSyn), SessionState::SynOutbound);
  tcp.establish();
  EXPECT_EQ(tcp.session->state(), SessionState::Established);
}

TEST(Rfc7857, Section3_PortsOverlapForDifferentRemotesOnly) {
  Nat nat({.first_port = 2000, .last_port = 2000});
  Session* first = nat.open(kVm, kA);
  Session* second = nat.open(kOtherVm, kB);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(first->external(), second->external());
  EXPECT_EQ(nat.try_open(kOtherVm, kA).verdict, Verdict::NoFreePort);
}

TEST(Rfc7857, Section5_MappingsAreKeptPerProtocol) {
  Nat nat;
  nat.open(kOtherVm, kA, kTcp);  // 40000 of TCP alone
  EXPECT_EQ(nat.open(kVm, kA, kUdp)->external().port.host(), 40000);
  EXPECT_NE(nat.open(kVm, kA, kTcp)->external().port.host(), 40000);
}

}  // namespace
}  // namespace vmnat::conntrack
