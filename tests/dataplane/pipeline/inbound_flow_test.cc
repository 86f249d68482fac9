// SPDX-License-Identifier: Apache-2.0
// Flows that the outside opens: port forwards, and what the filtering of a mapping lets in.
//
//   203.0.113.2:8080 tcp -> vm1 192.168.122.10:80        203.0.113.2:5353 udp -> vm1 192.168.122.10:53
//   203.0.113.2:9090 tcp -> 192.168.122.99:80, which nobody has
//   203.0.113.2:123 and 4500 udp -> vm1 192.168.122.10:123

#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::WordTable;
using net::IcmpType;
using net::TcpHeader;
using net::to_string;
using ::testing::IsEmpty;

constexpr auto kTcp = net::Protocol::Tcp;
constexpr auto kUdp = net::Protocol::Udp;

void add_forwards(Testbed& bed) {
  bed.learn(kVm1, vm_mac(1));
  bed.change_state([&](ForwardingState& state) {
    set_forwards(state, {{kTcp, 8080, endpoint(kVm1Address, 80)},
                         {kUdp, 5353, endpoint(kVm1Address, 53)},
                         {kTcp, 9090, endpoint("192.168.122.99", 80)},
                         {kUdp, 123, endpoint(kVm1Address, 123)},
                         {kUdp, 4500, endpoint(kVm1Address, 123)}});
    const InsideHost vm1{.mac = vm_mac(1), .port = kVm1};
    state.networks[0].hosts = WordTable<InsideHost>(
        {{net::parse_ipv4(kVm1Address)->raw(), vm1}, {net::parse_ipv4("192.168.122.99")->raw(), {}}});
  });
}

Packet inbound(std::uint16_t to, std::uint16_t from = 4000) {
  return Packet().from(kRouterMac, kServer, from).to(kUplinkMac, kExternal, to);
}
Packet syn(std::uint16_t to = 8080) {
  return inbound(to).tcp(TcpHeader::kSyn);
}
Packet answer(std::uint16_t from, std::uint16_t to = 4000) {
  return Packet().from(vm_mac(1), kVm1Address, from).to(kRedMac, kServer, to);
}

class Forwards : public OnTestbed {
 protected:
  void SetUp() override { add_forwards(bed); }
};

TEST_F(Forwards, OpenAConnectionToTheVmAndItsAnswersLeaveFromTheForwardedPort) {
  bed.exchange(kUplink, syn().ttl(50).frame());
  const Bytes received = only(bed.take(kVm1));
  EXPECT_EQ(to_string(source_of(received)), "198.51.100.7:4000") << "the remote is not hidden";
  EXPECT_EQ(to_string(destination_of(received)), "192.168.122.10:80");
  EXPECT_EQ(net::view<net::EthernetHeader>(received)->destination, vm_mac(1));
  EXPECT_EQ(net::view<net::EthernetHeader>(received)->source, kRedMac);
  EXPECT_EQ(net::view<net::Ipv4Header>(received, 14)->ttl, 49);
  EXPECT_TRUE(has_good_checksums(received));
  bed.exchange(kVm1, answer(80).tcp(TcpHeader::kSyn | TcpHeader::kAck).frame());
  const Bytes sent = only(bed.take(kUplink));
  EXPECT_EQ(to_string(source_of(sent)), "203.0.113.2:8080");
  EXPECT_EQ(to_string(destination_of(sent)), "198.51.100.7:4000");
  EXPECT_TRUE(has_good_checksums(sent));
  bed.exchange(kUplink, inbound(8080).tcp(TcpHeader::kAck).frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 1u);
}

TEST_F(Forwards, OfUdpAnswerToo) {
  bed.exchange(kUplink, inbound(5353).udp().frame());
  EXPECT_EQ(to_string(destination_of(only(bed.take(kVm1)))), "192.168.122.10:53");
  bed.exchange(kVm1, answer(53).udp().frame());
  EXPECT_EQ(to_string(source_of(only(bed.take(kUplink)))), "203.0.113.2:5353");
}

TEST_F(Forwards, KeepManyRemotesApart) {
  for (const std::uint16_t from : {4000, 4001, 4002})
    bed.put(kUplink, inbound(8080, from).tcp(TcpHeader::kSyn).frame());
  bed.run();
  EXPECT_EQ(bed.take(kVm1).size(), 3u);
  bed.exchange(kVm1, answer(80, 4001).tcp(TcpHeader::kSyn | TcpHeader::kAck).frame());
  EXPECT_EQ(to_string(destination_of(only(bed.take(kUplink)))), "198.51.100.7:4001");
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 3u);
}

TEST_F(Forwards, FramesOfOneNewFlowInOneBurstShareASession) {
  for (int i = 0; i < 3; ++i) bed.put(kUplink, inbound(5353).udp().frame());
  bed.run();
  EXPECT_EQ(bed.take(kVm1).size(), 3u);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 1u);
}

TEST_F(Forwards, AreForTheirProtocolAndPortAlone) {
  bed.exchange(kUplink, inbound(8080).udp().frame());
  EXPECT_EQ(icmp(only(bed.take(kUplink))).code, 3);
  bed.exchange(kUplink, syn(8081).frame());
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 2u);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
}

TEST_F(Forwards, TakeAConnectionFromItsBeginningOnly) {
  bed.exchange(kUplink, inbound(8080).tcp(TcpHeader::kAck).frame());
  EXPECT_EQ(bed.dropped(DropReason::TcpNotSyn), 1u);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
}

TEST_F(Forwards, TellTheRemoteThatAVmIsNotThere) {
  const Bytes frame = syn(9090).frame();
  bed.exchange(kUplink, frame);
  const Bytes error = only(bed.take(kUplink));
  EXPECT_EQ(icmp(error).type, IcmpType::DestinationUnreachable);
  EXPECT_EQ(icmp(error).code, 1);
  EXPECT_EQ(quote_in(error), quoted(frame, 2000)) << "nothing inside shows";
  EXPECT_EQ(bed.dropped(DropReason::HostUnresolved), 1u);
}

TEST_F(Forwards, AnswerASpentTtlThemselves) {
  bed.exchange(kUplink, syn().ttl(1).frame());
  EXPECT_EQ(icmp(only(bed.take(kUplink))).type, IcmpType::TimeExceeded);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 0u);
}

TEST_F(Forwards, LetNoInsideOrImpossibleSourceIn) {
  for (const char* source :
       {"192.168.122.11", "192.168.5.10", kExternal, "203.0.113.255", "127.0.0.1", "224.0.0.1", "0.0.0.0",
        "169.254.9.9", "192.0.0.8", "240.0.0.1", "255.255.255.255"})
    bed.exchange(kUplink,
                 Packet().from(kRouterMac, source, 4000).to(kUplinkMac, kExternal, 5353).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::SourceForeign), 11u);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
}

TEST_F(Forwards, PassErrorsAboutTheirSessionsBothWays) {
  bed.exchange(kUplink, syn().frame());
  const Bytes received = only(bed.take(kVm1));
  bed.exchange(kVm1, Packet()
                         .from(vm_mac(1), kVm1Address)
                         .to(kRedMac, kServer)
                         .icmp_error(IcmpType::DestinationUnreachable, 3, quoted(received, 8))
                         .frame());
  EXPECT_EQ(quote_in(only(bed.take(kUplink))), quoted(syn().ttl(63).frame(), 8));
}

TEST_F(Forwards, KeepTheirPortFromEveryOtherFlow) {
  bed.learn(kVm2, vm_mac(2));
  for (const std::uint16_t port : {8080, 5353}) {  // they would have been preserved
    bed.exchange(kVm1, answer(port, 80).udp().frame());
    EXPECT_NE(source_of(only(bed.take(kUplink))).port.host(), port) << "not the forward's endpoint";
    bed.exchange(kVm2,
                 Packet().from(vm_mac(2), "192.168.122.11", port).to(kRedMac, kServer, 80).udp().frame());
    EXPECT_NE(source_of(only(bed.take(kUplink))).port.host(), port);
  }
}

struct SpeaksFirst {
  const char* says;
  net::Protocol protocol;
  std::uint16_t internal, external;
};
constexpr SpeaksFirst kSpeaksFirst[] = {{"another number", kUdp, 53, 5353},
                                        {"a port that no VM is given", kUdp, 123, 123},
                                        {"TCP", kTcp, 80, 8080}};

Packet with(net::Protocol protocol, Packet packet) {
  return protocol == kTcp ? packet.tcp(TcpHeader::kSyn) : packet.udp();
}

// RFC 4787 REQ-1: whatever the remote is.
TEST_F(Forwards, AreTheMappingOfWhatTheVmOpensFromTheirEndpoint) {
  for (const SpeaksFirst& row : kSpeaksFirst)
    for (const std::uint16_t remote : {5000, 6000}) {
      SCOPED_TRACE(row.says);
      bed.exchange(kVm1, with(row.protocol, answer(row.internal, remote)).frame());
      const Bytes sent = only(bed.take(kUplink));
      EXPECT_EQ(source_of(sent), endpoint(kExternal, row.external));
      EXPECT_TRUE(has_good_checksums(sent));
    }
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 6u);
}

// Peers that both use the port of their service: NTP, IKE, WireGuard.
TEST_F(Forwards, LetThePeerInThatTheVmSpokeToAsOneSession) {
  for (const SpeaksFirst& row : kSpeaksFirst) {
    SCOPED_TRACE(row.says);
    bed.exchange(kVm1, with(row.protocol, answer(row.internal, 5000)).frame());
    bed.take(kUplink);
    bed.exchange(kUplink, with(row.protocol, inbound(row.external, 5000)).frame());
    EXPECT_EQ(destination_of(only(bed.take(kVm1))), endpoint(kVm1Address, row.internal));
    bed.exchange(kUplink, with(row.protocol, inbound(row.external, 6000)).frame());
    EXPECT_EQ(destination_of(only(bed.take(kVm1))), endpoint(kVm1Address, row.internal)) << "open to all";
    bed.exchange(kVm1, with(row.protocol, answer(row.internal, 6000)).frame());
    EXPECT_EQ(source_of(only(bed.take(kUplink))), endpoint(kExternal, row.external));
  }
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 6u);
}

TEST_F(Forwards, OfOneEndpointTheFirstIsItsMappingAndAllLeadToIt) {
  bed.exchange(kVm1, answer(123, 5000).udp().frame());
  EXPECT_EQ(source_of(only(bed.take(kUplink))), endpoint(kExternal, 123));
  bed.exchange(kUplink, inbound(4500, 6000).udp().frame());
  EXPECT_EQ(destination_of(only(bed.take(kVm1))), endpoint(kVm1Address, 123));
  bed.exchange(kVm1, answer(123, 6000).udp().frame());
  EXPECT_EQ(source_of(only(bed.take(kUplink))), endpoint(kExternal, 4500)) << "the answer's way";
}

TEST_F(Forwards, ThatComeOrGoChangeTheMappingOfLaterSessions) {
  bed.exchange(kVm1, answer(7000, 5000).udp().frame());
  const net::Endpoint before = source_of(only(bed.take(kUplink)));
  const auto leaves_from = [&](std::uint16_t remote) {
    bed.exchange(kVm1, answer(7000, remote).udp().frame());
    return source_of(only(bed.take(kUplink)));
  };
  bed.change_state([](ForwardingState& state) {
    set_forwards(state, {{kUdp, 9090, endpoint(kVm1Address, 7000)}});
  });
  EXPECT_EQ(leaves_from(5000), before) << "sessions keep their endpoints";
  EXPECT_EQ(leaves_from(6000), endpoint(kExternal, 9090));
  bed.change_state([](ForwardingState& state) { set_forwards(state, {}); });
  EXPECT_EQ(leaves_from(6000), endpoint(kExternal, 9090));
  EXPECT_EQ(leaves_from(6001), before);
}

TEST_F(Forwards, PassErrorsAboutWhatTheirVmHasOpened) {
  bed.exchange(kVm1, answer(123, 5000).udp().frame());
  const Bytes sent = only(bed.take(kUplink));
  bed.exchange(kUplink, Packet()
                            .from(kRouterMac, "198.51.100.1")
                            .to(kUplinkMac, kExternal)
                            .icmp_error(IcmpType::DestinationUnreachable, 3, quoted(sent, 8))
                            .frame());
  EXPECT_EQ(icmp(only(bed.take(kVm1))).type, IcmpType::DestinationUnreachable);
}

TEST(ForwardsMapping, HoldsWithEndpointDependentMappingToo) {
  Testbed bed(1, {.mapping = conntrack::Mapping::EndpointDependent});
  add_forwards(bed);
  for (const std::uint16_t remote : {5000, 6000}) {
    bed.exchange(kVm1, answer(123, remote).udp().frame());
    EXPECT_EQ(source_of(only(bed.take(kUplink))), endpoint(kExternal, 123));
  }
}

TEST_F(Forwards, PuntArpRepliesOfTheirTargetsOnly) {
  const auto reply = [](std::uint8_t vm, const char* address) {
    return arp(net::ArpOperation::Reply, vm_mac(vm), address, kRedMac, "192.168.122.1", kRedMac);
  };
  bed.exchange(kVm1, reply(1, kVm1Address));
  EXPECT_EQ(bed.take_punted().size(), 1u);
  bed.exchange(kVm2, reply(2, "192.168.122.11"));
  bed.exchange(kVm2, reply(2, "0.0.0.0"));
  EXPECT_EQ(bed.dropped(DropReason::ArpUnasked), 2u);
}

TEST(ForwardsLimits, CountForTheVmsPort) {
  Testbed bed(1, {.sessions_per_port = 1});
  add_forwards(bed);
  bed.exchange(kUplink, inbound(8080, 4002).tcp(TcpHeader::kSyn).frame());
  bed.exchange(kUplink, syn().frame());  // goes for the one that is half open
  EXPECT_EQ(bed.worker(0).conntrack().statistics().early_dropped, 1u);
  bed.exchange(kVm1, answer(80).tcp(TcpHeader::kSyn | TcpHeader::kAck).frame());
  bed.exchange(kVm1, answer(80).tcp(TcpHeader::kAck).frame());
  bed.exchange(kUplink, inbound(8080, 4001).tcp(TcpHeader::kSyn).frame());
  EXPECT_EQ(bed.dropped(DropReason::SessionLimit), 1u);
  EXPECT_EQ(bed.take(kVm1).size(), 2u);
}

TEST(ForwardsWorkers, LiveOnTheWorkerOfTheVmsPort) {
  Testbed bed(3);
  add_forwards(bed);
  bed.exchange(kUplink, syn().frame());
  const Bytes received = only(bed.take(kVm1));
  EXPECT_EQ(bed.worker(1).conntrack().statistics().active, 1u);
  bed.exchange(kVm1, answer(80).tcp(TcpHeader::kSyn | TcpHeader::kAck).frame());
  EXPECT_EQ(to_string(source_of(only(bed.take(kUplink)))), "203.0.113.2:8080");
  bed.exchange(kUplink, inbound(8080).tcp(TcpHeader::kAck).frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
  const Bytes sent = answer(80).tcp(TcpHeader::kAck).frame();
  bed.exchange(kVm1, sent);
  bed.exchange(kUplink, Packet()
                            .from(kRouterMac, "198.51.100.1")
                            .to(kUplinkMac, kExternal)
                            .icmp_error(IcmpType::TimeExceeded, 0, quoted(only(bed.take(kUplink)), 8))
                            .frame());
  EXPECT_EQ(icmp(only(bed.take(kVm1))).type, IcmpType::TimeExceeded);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 0u);
  EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
}

// The forwards' sessions are those of the worker that polls vm1, whichever gets the peer's frames; also
// before vm1 has answered ARP, if it owns its address.
TEST(ForwardsWorkers, HaveOneSessionWithAPeerWhoeverSpeaksFirst) {
  for (const bool is_resolved : {true, false})
    for (const SpeaksFirst& row : kSpeaksFirst) {
      SCOPED_TRACE(row.says);
      Testbed bed(3);
      add_forwards(bed);
      if (!is_resolved)
        bed.change_state([](ForwardingState& state) {
          const std::uint64_t address = net::parse_ipv4(kVm1Address)->raw();
          state.networks[0].hosts =
              WordTable<InsideHost>(std::vector<WordTable<InsideHost>::Entry>{{.key = address}});
          state.networks[0].address_owners = WordTable<PortIndex>({{address, kVm1}});
        });
      bed.exchange(kVm1, with(row.protocol, answer(row.internal, 5000)).frame());
      EXPECT_EQ(source_of(only(bed.take(kUplink))), endpoint(kExternal, row.external));
      bed.exchange(kUplink, with(row.protocol, inbound(row.external, 5000)).frame());
      EXPECT_EQ(destination_of(only(bed.take(kVm1))), endpoint(kVm1Address, row.internal));
      EXPECT_EQ(bed.worker(1).conntrack().statistics().active, 1u);
      EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 0u);
      EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
    }
}

// --- filtering ---------------------------------------------------------------------------------------------

constexpr const char* kStranger = "198.51.100.66";

class Filtering : public OnTestbed {
 protected:
  explicit Filtering(conntrack::Filtering filtering = conntrack::Filtering::EndpointIndependent)
      : OnTestbed({.filtering = filtering}) {
    bed.learn(kVm1, vm_mac(1));
    bed.exchange(kVm1, answer(5000, 80).udp().frame());
    external = source_of(only(bed.take(kUplink))).port.host();
  }
  void resolve_vm1() {
    bed.change_state([](ForwardingState& state) {
      state.networks[0].hosts =
          WordTable<InsideHost>({{net::parse_ipv4(kVm1Address)->raw(), {.mac = vm_mac(1), .port = kVm1}}});
    });
  }
  Packet from(const char* remote, std::uint16_t port) {
    return Packet().from(kRouterMac, remote, port).to(kUplinkMac, kExternal, external).udp();
  }
  std::uint16_t external = 0;
};

class EndpointIndependentFiltering : public Filtering {};

TEST_F(EndpointIndependentFiltering, LetsEveryRemoteIn) {
  resolve_vm1();
  bed.exchange(kUplink, from(kStranger, 9).frame());
  const Bytes received = only(bed.take(kVm1));
  EXPECT_EQ(to_string(source_of(received)), "198.51.100.66:9");
  EXPECT_EQ(to_string(destination_of(received)), "192.168.122.10:5000");
  EXPECT_EQ(net::view<net::EthernetHeader>(received)->destination, vm_mac(1));
  EXPECT_TRUE(has_good_checksums(received));
  bed.exchange(kVm1, Packet().from(vm_mac(1), kVm1Address, 5000).to(kRedMac, kStranger, 9).udp().frame());
  EXPECT_EQ(source_of(only(bed.take(kUplink))).port.host(), external);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 2u);
}

TEST_F(EndpointIndependentFiltering, AsksControlForAVmThatItCannotPlaceAndGoesOnThen) {
  const Bytes frame = from(kStranger, 9).frame();
  bed.exchange(kUplink, frame);
  const Bytes punted = only(bed.take_punted());
  EXPECT_EQ(punted, frame) << "as it came: it is looked up again";
  EXPECT_EQ(bed.counts()["punt.host_unresolved"], 1u);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 1u);
  resolve_vm1();
  bed.return_inbound(0, punted);
  bed.run();
  EXPECT_EQ(to_string(destination_of(only(bed.take(kVm1)))), "192.168.122.10:5000");
}

TEST_F(EndpointIndependentFiltering, IsForWhatHasAMappingAlone) {
  resolve_vm1();
  bed.exchange(kUplink, from(kStranger, 9).to(kUplinkMac, kExternal, 6000).frame());
  bed.exchange(kUplink, from(kStranger, 9).tcp(TcpHeader::kSyn).frame());
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 2u) << "another port, another protocol";
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
}

TEST_F(EndpointIndependentFiltering, LetsNoInsideSourceInAndNoConnectionInItsMiddle) {
  resolve_vm1();
  bed.exchange(kUplink, from("192.168.122.11", 9).frame());
  EXPECT_EQ(bed.dropped(DropReason::SourceForeign), 1u);
  bed.exchange(kVm1, answer(5001, 80).tcp(TcpHeader::kSyn).frame());
  const std::uint16_t mapped = source_of(only(bed.take(kUplink))).port.host();
  bed.exchange(kUplink, from(kStranger, 9).to(kUplinkMac, kExternal, mapped).tcp(TcpHeader::kAck).frame());
  EXPECT_EQ(bed.dropped(DropReason::TcpNotSyn), 1u);
  bed.exchange(kUplink, from(kStranger, 9).to(kUplinkMac, kExternal, mapped).tcp(TcpHeader::kSyn).frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
}

class AddressDependentFiltering : public Filtering {
 protected:
  AddressDependentFiltering() : Filtering(conntrack::Filtering::AddressDependent) {}
};

TEST_F(AddressDependentFiltering, LetsTheRemoteSendFromEveryPortAndNobodyElse) {
  resolve_vm1();
  bed.exchange(kUplink, from(kServer, 81).frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
  bed.exchange(kUplink, from(kStranger, 80).frame());
  EXPECT_EQ(bed.dropped(DropReason::Filtered), 1u);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
  EXPECT_THAT(bed.take(kUplink), IsEmpty()) << "in silence";
}

TEST_F(AddressDependentFiltering, AsksControlForNobodyOnAStrangersBehalf) {
  bed.exchange(kUplink, from(kStranger, 80).frame());
  EXPECT_THAT(bed.take_punted(), IsEmpty());
}

}  // namespace
}  // namespace vmnat::test
