// SPDX-License-Identifier: Apache-2.0
// The errors that the gateway sends itself: what they quote, from whom they come, how many go. Which refusal
// is told and which is not stands beside the reasons, in pipeline_test.cc.

#include "base/token_bucket.h"
#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using net::IcmpType;
using net::to_string;
using ::testing::IsEmpty;

constexpr unsigned kBurst = 20;        // errors at once about one port's frames, and so many more a tick
constexpr unsigned kOwnBurst = 5;      // of these, which the port shares with no other
constexpr unsigned kSharedBurst = 63;  // of what all ports of a worker share

Packet outbound(std::uint16_t port = 40000) {
  return Packet().from(vm_mac(1), kVm1Address, port).to(kRedMac, kServer, 80).udp();
}
Packet inbound() {
  return Packet().from(kRouterMac, kServer, 80).to(kUplinkMac, kExternal, 40000).udp();
}

class Refuse : public OnTestbed {};

// DHCP has given no address, or takes one back under a session that lives on for a moment.
TEST_F(Refuse, WithoutAnUplinkAddressTheWayOutIsRefusedWithNetUnreachable) {
  bed.exchange(kVm1, outbound(40001).frame());
  bed.take(kUplink);
  bed.change_state([](dataplane::ForwardingState& state) {
    state.uplinks[0].address = {};
    state.uplinks[0].gateway_mac = {};
    state.uplinks[0].mtu = 0;
  });
  for (const std::uint16_t port : {40000, 40001}) {
    bed.exchange(kVm1, outbound(port).frame());
    const Bytes error = only(bed.take(kVm1));
    EXPECT_EQ(icmp(error).type, IcmpType::DestinationUnreachable);
    EXPECT_EQ(icmp(error).code, 0);
    EXPECT_EQ(to_string(ip(error).source), "192.168.122.1");
  }
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::NoUplinkAddress), 2u);
}

void lose_router(dataplane::ForwardingState& state) {
  state.uplinks[0].gateway = {};
  state.uplinks[0].gateway_mac = {};
}

// With a session that it had before, too.
TEST_F(Refuse, WithoutARouterWhatIsBeyondTheLinkIsRefusedWithNetUnreachable) {
  bed.exchange(kVm1, outbound(40001).frame());
  bed.take(kUplink);
  bed.change_state(lose_router);
  for (const std::uint16_t port : {40000, 40001}) {
    bed.exchange(kVm1, outbound(port).frame());
    const Bytes error = only(bed.take(kVm1));
    EXPECT_EQ(icmp(error).type, IcmpType::DestinationUnreachable);
    EXPECT_EQ(icmp(error).code, 0);
    EXPECT_EQ(to_string(ip(error).source), "192.168.122.1");
    EXPECT_EQ(quote_in(error), quoted(outbound(port).frame(), 2000)) << "as the VM sent it";
    EXPECT_TRUE(has_good_checksums(error));
  }
  EXPECT_THAT(bed.take_punted(), IsEmpty()) << "nobody is asked for";
  EXPECT_EQ(bed.dropped(DropReason::NoRoute), 2u);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 1u);
}

TEST_F(Refuse, WithoutARouterTheUplinksLinkIsReachedAndReachesForwards) {
  bed.change_state([](dataplane::ForwardingState& state) {
    lose_router(state);
    const net::Endpoint external = endpoint(kExternal, 8080), internal = endpoint(kVm1Address, 80);
    state.forwards = dataplane::WordTable<dataplane::Forward>(
        {{dataplane::ForwardingState::forward_word(external, net::Protocol::Udp), {.to = internal}}});
    state.networks[0].hosts = dataplane::WordTable<dataplane::InsideHost>(
        {{internal.address.raw(), {.mac = vm_mac(1), .port = kVm1}}});
    state.uplinks[0].neighbors = dataplane::WordTable<dataplane::NextHop>(
        {{net::parse_ipv4("203.0.113.9")->raw(), {.mac = vm_mac(9)}}});
  });
  bed.exchange(kVm1, Packet().from(vm_mac(1), kVm1Address, 1).to(kRedMac, "203.0.113.9", 80).udp().frame());
  EXPECT_EQ(net::view<net::EthernetHeader>(only(bed.take(kUplink)))->destination, vm_mac(9));
  bed.exchange(kUplink,
               Packet().from(vm_mac(9), "203.0.113.9", 7).to(kUplinkMac, kExternal, 8080).udp().frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
  bed.exchange(kVm1, Packet().from(vm_mac(1), kVm1Address, 80).to(kRedMac, "203.0.113.9", 7).udp().frame());
  EXPECT_EQ(to_string(source_of(only(bed.take(kUplink)))), "203.0.113.2:8080");
}

// A frame waits with control, translated, while its next hop is asked for.
TEST_F(Refuse, AFrameThatWaitedInVainIsToldOfAsItsVmSentIt) {
  const auto to_link = [] { return outbound(5000).to(kRedMac, "203.0.113.77", 80).ttl(17); };
  const Bytes frames[] = {to_link().udp().frame(),
                          to_link().udp().without_udp_checksum().frame(),
                          to_link().tcp(net::TcpHeader::kSyn).options(2).frame(),
                          to_link().icmp_echo(IcmpType::EchoRequest, 9).frame(),
                          to_link().protocol(47).frame(),
                          to_link().udp().payload(64).fragment(0x2000).frame()};
  unsigned dropped = 0;
  for (const Bytes& sent : frames) {
    bed.exchange(kVm1, sent);
    const Bytes waiting = only(bed.take_punted());
    EXPECT_EQ(to_string(source_of(waiting).address), kExternal);
    bed.return_unreachable(kVm1, waiting, dataplane::DropReason::NeighborUnresolved);
    bed.run();
    const Bytes error = only(bed.take(kVm1));
    EXPECT_EQ(icmp(error).type, IcmpType::DestinationUnreachable);
    EXPECT_EQ(icmp(error).code, 1) << "RFC 1812 5.2.7.1: host unreachable";
    EXPECT_EQ(to_string(ip(error).source), "192.168.122.1");
    EXPECT_EQ(ethernet(error).destination, vm_mac(1));
    EXPECT_TRUE(has_good_checksums(error));
    if (!ip(sent).is_fragment()) {  // else its number is another
      EXPECT_EQ(quote_in(error), quoted(sent, 2000));
    }
    EXPECT_EQ(bed.dropped(DropReason::NeighborUnresolved), ++dropped);
    bed.advance(std::chrono::seconds(1));
  }
}

TEST_F(Refuse, AWaitingFrameWhoseSessionIsNoMoreEndsInSilence) {
  bed.exchange(kVm1, outbound(5000).to(kRedMac, "203.0.113.77", 80).frame());
  const Bytes waiting = only(bed.take_punted());
  for (const PortIndex port : {kVm1, kVm2})
    bed.return_unreachable(port, outbound(5001).from(vm_mac(1), kExternal, 5001).frame(),
                           dataplane::DropReason::NeighborUnresolved);
  bed.return_unreachable(kVm4, waiting, dataplane::DropReason::NeighborUnresolved);
  bed.return_unreachable(kVm1, Bytes(60), dataplane::DropReason::NeighborUnresolved);
  bed.run();
  for (const PortIndex port : {kVm1, kVm2, kVm4}) EXPECT_THAT(bed.take(port), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::NeighborUnresolved), 4u)
      << "another's session, another network, no packet";
}

TEST_F(Refuse, TheErrorsAboutWaitingFramesAreBoundedAsAllAre) {
  bed.exchange(kVm1, outbound(5000).to(kRedMac, "203.0.113.77", 80).frame());
  const Bytes waiting = only(bed.take_punted());
  for (unsigned i = 0; i < 3 * kBurst; ++i) {
    bed.return_unreachable(kVm1, waiting, dataplane::DropReason::NeighborUnresolved);
    bed.run();
  }
  EXPECT_EQ(bed.take(kVm1).size(), kBurst);
  EXPECT_EQ(bed.dropped(DropReason::NeighborUnresolved), 3 * kBurst);
}

TEST_F(Refuse, ARemotesFrameForAVmThatIsNotThereIsToldOf) {
  const Bytes waiting = inbound().to(kUplinkMac, kExternal, 40000).frame();
  bed.return_unreachable(kUplink, waiting, dataplane::DropReason::HostUnresolved);
  bed.run();
  const Bytes error = only(bed.take(kUplink));
  EXPECT_EQ(icmp(error).code, 1);
  EXPECT_EQ(to_string(ip(error).source), kExternal);
  EXPECT_EQ(to_string(ip(error).destination), kServer);
  EXPECT_EQ(quote_in(error), quoted(waiting, 2000));
  EXPECT_EQ(bed.dropped(DropReason::HostUnresolved), 1u);
}

TEST_F(Refuse, WhatComesForTheUplinksDhcpClientIsPuntedOnlyWhileThereIsOne) {
  const auto answer = [](std::uint8_t op, std::uint8_t transaction) {
    Bytes message(300);
    message[0] = std::byte{op};
    message[7] = std::byte{transaction};
    return message;
  };
  const auto reply = [&](net::MacAddr to_mac, const char* to) {
    return Packet()
        .from(kRouterMac, "203.0.113.1", 32768)  // RFC 2131 4.1 fixes where it goes to
        .to(to_mac, to, 68)
        .payload(answer(2, 7))
        .udp()
        .frame();
  };
  const Bytes broadcast = reply(net::kBroadcastMac, "255.255.255.255");
  const Bytes unicast = reply(kUplinkMac, "203.0.113.50"), renewal = reply(kUplinkMac, kExternal);
  for (const Bytes& frame : {broadcast, unicast, renewal}) bed.exchange(kUplink, frame);
  EXPECT_THAT(bed.take_punted(), IsEmpty());
  bed.change_state([](dataplane::ForwardingState& state) { state.uplinks[0].dhcp_transaction = 7; });
  for (const Bytes& frame : {broadcast, unicast, renewal}) bed.exchange(kUplink, frame);
  EXPECT_EQ(bed.take_punted(), (std::vector<Bytes>{broadcast, unicast, renewal}));
  bed.exchange(kUplink, reply({{0x02, 0, 0, 0, 0, 0xcc}}, kExternal));
  bed.exchange(kUplink, Packet()
                            .from(kRouterMac, "203.0.113.1", 67)
                            .to(net::kBroadcastMac, "255.255.255.255", 69)
                            .payload(answer(2, 7))
                            .udp()
                            .frame());
  EXPECT_THAT(bed.take_punted(), IsEmpty()) << "for another MAC, or another port";
  for (const Bytes& message : {answer(2, 8), answer(1, 7), Bytes(7)})
    bed.exchange(kUplink, Packet()
                              .from(kRouterMac, "203.0.113.1", 67)
                              .to(net::kBroadcastMac, "255.255.255.255", 68)
                              .payload(message)
                              .udp()
                              .frame());
  EXPECT_THAT(bed.take_punted(), IsEmpty()) << "another transaction, no reply, too short to be either";
}

TEST_F(Refuse, TellsTheVmOfItsSpentTtlInItsOwnTermsWithASessionToo) {
  for (const bool has_session : {false, true}) {
    const Bytes last_hop = outbound().ttl(1).frame();
    bed.exchange(kVm1, last_hop);
    const Bytes error = only(bed.take(kVm1));
    EXPECT_EQ(icmp(error).type, IcmpType::TimeExceeded);
    EXPECT_EQ(to_string(ip(error).source), "192.168.122.1") << "traceroute's first hop";
    EXPECT_EQ(ip(error).tos, 0xc0) << "RFC 1812 4.3.2.5";
    EXPECT_EQ(quote_in(error), quoted(last_hop, 2000)) << "with a session: " << has_session;
    EXPECT_THAT(bed.take(kUplink), IsEmpty());
    bed.exchange(kVm1, outbound().frame());
    bed.take(kUplink);
  }
}

TEST_F(Refuse, TellsTheRemoteOfItsSpentTtlInItsOwnTerms) {
  bed.exchange(kVm1, outbound().frame());
  bed.take(kUplink);
  const Bytes last_hop = inbound().ttl(1).frame();
  bed.exchange(kUplink, last_hop);
  const Bytes error = only(bed.take(kUplink));
  EXPECT_EQ(icmp(error).type, IcmpType::TimeExceeded);
  EXPECT_EQ(to_string(ip(error).source), kExternal);
  EXPECT_EQ(to_string(ip(error).destination), kServer);
  EXPECT_EQ(net::view<net::EthernetHeader>(error)->destination, kRouterMac);
  EXPECT_EQ(quote_in(error), quoted(last_hop, 2000)) << "nothing inside shows";
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
}

TEST_F(Refuse, NamesTheMtuOfTheUplinkWhenAPacketMayNotBeCut) {
  bed.change_state([](dataplane::ForwardingState& state) { state.uplinks[0].mtu = 1400; });
  bed.exchange(kVm1, outbound().payload(1372).fragment(0x4000).frame());
  EXPECT_EQ(bed.take(kUplink).size(), 1u) << "1400 bytes fit";
  bed.exchange(kVm1, outbound().payload(1373).fragment(0x4000).frame());
  const Bytes error = only(bed.take(kVm1));
  EXPECT_EQ(icmp(error).type, IcmpType::DestinationUnreachable);
  EXPECT_EQ(icmp(error).code, 4);
  EXPECT_EQ(icmp(error).sequence.host(), 1400) << "RFC 1191 section 4";
  EXPECT_EQ(icmp(error).identifier.host(), 0);
  EXPECT_EQ(ip(error).total_length.host(), 576) << "RFC 1812 4.3.2.3: no more than that";
  EXPECT_TRUE(has_good_checksums(error));
}

TEST_F(Refuse, QuotesWhatLiesInTheFirstBufferOfALongPacket) {
  bed.exchange(kVm1, outbound().payload(3000).fragment(0x4000).frame());
  EXPECT_TRUE(has_good_checksums(only(bed.take(kVm1))));
}

TEST_F(Refuse, TellsAVmThatIsOverItsLimitOfSessions) {
  Testbed limited(1, {.sessions_per_port = 1});
  limited.exchange(kVm1, outbound(1).frame());
  const Bytes refused = outbound(2).frame();
  limited.exchange(kVm1, refused);
  const Bytes error = only(limited.take(kVm1));
  EXPECT_EQ(icmp(error).type, IcmpType::DestinationUnreachable);
  EXPECT_EQ(icmp(error).code, 13) << "RFC 5508 REQ-8";
  EXPECT_EQ(quote_in(error), quoted(refused, 2000));
  EXPECT_TRUE(limited.is_balanced());
}

TEST_F(Refuse, SaysNothingToARemoteThatAMappingsFilterKeepsOut) {
  bed.exchange(kVm1, outbound().frame());
  const std::uint16_t external = source_of(only(bed.take(kUplink))).port.host();
  bed.exchange(kUplink, inbound().from(kRouterMac, kServer, 81).to(kUplinkMac, kExternal, external).frame());
  EXPECT_EQ(bed.dropped(DropReason::Filtered), 1u);
  EXPECT_THAT(bed.take(kUplink), IsEmpty()) << "an error would break what two peers open to each other";
}

TEST_F(Refuse, SaysNothingAboutAnEchoReplyOrASyn) {
  bed.exchange(kUplink, inbound().icmp_echo(IcmpType::EchoReply, 9).frame());
  bed.exchange(kUplink, inbound().tcp(net::TcpHeader::kSyn).frame());
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 2u);
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
}

TEST_F(Refuse, SendsSoManyErrorsAtOnceAndAgainAfterATick) {
  for (unsigned round = 1; round <= 2; ++round) {
    for (unsigned i = 0; i < 3 * kBurst; ++i) {
      bed.put(kVm1, outbound().ttl(1).frame());
      if (i % 16 == 0) bed.run();
    }
    bed.run();
    EXPECT_EQ(bed.take(kVm1).size(), kBurst);
    EXPECT_EQ(bed.counts()["generated"], round * kBurst);
    EXPECT_EQ(bed.counts()["icmp_errors.suppressed"], 2 * round * kBurst);
    EXPECT_EQ(bed.dropped(DropReason::TtlExpired), 3 * round * kBurst) << "refused all the same";
    bed.advance(std::chrono::seconds(1));
  }
}

TEST_F(Refuse, FloodsOfAllOtherPortsLeaveAPortErrorsOfItsOwn) {
  const auto flood = [&](PortIndex port, const Packet& packet) {
    for (unsigned i = 0; i < 2 * kSharedBurst; ++i) {
      bed.put(port, packet.frame());
      if (i % 16 == 0) bed.run();
    }
    bed.run();
    return bed.take(port).size();
  };
  EXPECT_EQ(flood(kVm1, outbound().ttl(1)), kBurst);
  EXPECT_EQ(flood(kVm2, outbound().from(vm_mac(2), "192.168.122.11", 1).ttl(1)), kBurst);
  EXPECT_EQ(flood(kVm3, outbound().from(vm_mac(3), "192.168.122.12", 1).ttl(1)), kBurst);
  EXPECT_EQ(flood(kVm4, outbound().from(vm_mac(4), "192.168.5.10", 1).to(kBlueMac, kServer, 80).ttl(1)),
            kBurst);
  const unsigned left = kSharedBurst - 4 * (kBurst - kOwnBurst);
  EXPECT_EQ(flood(kUplink, inbound()), kOwnBurst + left);
  EXPECT_EQ(flood(kVm5, outbound().from(vm_mac(5), "10.9.0.10", 1).to(kIslandMac, kServer, 80)), kOwnBurst)
      << "of what is shared nothing is left";
}

TEST_F(Refuse, TellsOfExhaustionAsTheNetworkSaysAndNotesTheRemote) {
  using dataplane::ExhaustionAnswer;
  // One external port towards this remote: GRE has none at all.
  bed.exchange(kVm1, outbound().protocol(47).frame());
  bed.take(kUplink);
  bed.learn(kVm2, vm_mac(2));
  const Bytes refused = Packet().from(vm_mac(2), "192.168.122.11").to(kRedMac, kServer).protocol(47).frame();
  const std::pair<ExhaustionAnswer, int> answers[] = {{ExhaustionAnswer::Prohibited, 13},
                                                      {ExhaustionAnswer::HostUnreachable, 1},
                                                      {ExhaustionAnswer::Nothing, -1}};
  for (const auto& [answer, code] : answers) {
    bed.change_state(
        [&](dataplane::ForwardingState& state) { state.networks[0].exhaustion_answer = answer; });
    bed.exchange(kVm2, refused);
    const auto errors = bed.take(kVm2);
    ASSERT_EQ(errors.size(), code < 0 ? 0u : 1u);
    EXPECT_TRUE(code < 0 || icmp(errors[0]).code == code) << code;
  }
  const auto noted = bed.worker(0).refused_remotes().copied();
  EXPECT_EQ(noted.latest.count, 3u);
  EXPECT_EQ(to_string(noted.latest.remote), kServer);
  EXPECT_EQ(noted.latest.port, kVm2);
  EXPECT_EQ(noted.latest.cause, DropReason::NoPort);
  EXPECT_EQ(bed.dropped(DropReason::NoPort), 3u);
}

TEST(RefuseWorkers, TheErrorLeavesByThePortThatTheFrameCameFrom) {
  Testbed bed(3);
  bed.learn(kVm1, vm_mac(1));
  bed.exchange(kVm1, outbound().frame());
  bed.take(kUplink);
  bed.exchange(kUplink, inbound().ttl(1).frame());  // the session is not on the uplink's worker
  EXPECT_EQ(icmp(only(bed.take(kUplink))).type, IcmpType::TimeExceeded);
  EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
}

// The session may be another worker's than the port's, and by hairpin it is the sender's that counts.
TEST(RefuseWorkers, AFrameThatWaitedInVainFindsTheWorkerOfItsSession) {
  Testbed bed(3);
  for (std::uint8_t number = 1; number <= 3; ++number) {
    const PortIndex port = number;
    bed.learn(port, vm_mac(number));
    const Bytes sent = Packet()
                           .from(vm_mac(number), "192.168.122." + std::to_string(9 + number), 5000)
                           .to(kRedMac, "203.0.113.77", 80)
                           .udp()
                           .frame();
    bed.exchange(port, sent);
    const Bytes waiting = only(bed.take_punted());
    bed.change_state([&](dataplane::ForwardingState& state) {
      state.ports[port].owner = static_cast<WorkerIndex>(number % 3);
    });
    bed.return_unreachable(port, waiting, dataplane::DropReason::HostUnresolved);
    bed.run();
    EXPECT_EQ(bed.worker(0).counters().icmp_errors_sent.get() +
                  bed.worker(1).counters().icmp_errors_sent.get() +
                  bed.worker(2).counters().icmp_errors_sent.get(),
              number);
    EXPECT_EQ(bed.dropped(DropReason::HostUnresolved), number);
  }
  EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
}

TEST(TokenBucket, GivesItsBurstThenItsRateAndSavesNoMoreThanItsBurst) {
  TokenBucket bucket(16, 4);  // one a tick
  Time now{};
  const auto taken = [&] {
    unsigned count = 0;
    while (bucket.take(now)) ++count;
    return count;
  };
  EXPECT_EQ(taken(), 4u);
  now += Ticks{1};
  EXPECT_EQ(taken(), 1u);
  now += Ticks{3};
  EXPECT_EQ(taken(), 3u);
  now += Ticks{1'000'000};
  EXPECT_EQ(taken(), 4u);
}

}  // namespace
}  // namespace vmnat::test
