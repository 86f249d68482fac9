// SPDX-License-Identifier: Apache-2.0
// A VM with an external address of its own (nat.static): 203.0.113.20 is vm1's (192.168.122.10) alone, while vm2
// (.11) and vm4 (192.168.5.10) share 203.0.113.2. Everything on one worker and on several.
#include "tests/support/fixture.h"
#include "tests/support/fragment_builder.h"

namespace vmnat::test {
namespace {

using conntrack::AllowedPorts;
using conntrack::ExternalAddresses;
using dataplane::AddressPair;
using dataplane::DropReason;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::WordTable;
using net::IcmpType;
using net::TcpHeader;
using net::to_string;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kOwn = "203.0.113.20";
constexpr std::uint8_t kGre = 47, kEsp = 50, kSctp = 132, kUnassigned = 200;

void set_pair(ForwardingState& state, const AddressPair& pair) {
  state.pairs_by_internal = WordTable<AddressPair>({{pair.internal.raw(), pair}});
  state.pairs_by_external = WordTable<AddressPair>({{pair.external.raw(), pair}});
}
const AddressPair kPair{net::parse_ipv4(kVm1Address).value(), net::parse_ipv4(kOwn).value(), 0, false};

class StaticNat : public OnWorkers {
 protected:
  StaticNat() : OnWorkers({kVm1, kVm2, kVm4}) {
    bed.change_state([](ForwardingState& state) {
      auto entries = state.external_addresses->entries();
      entries.push_back({kPair.external, std::make_shared<const AllowedPorts>()});
      state.external_addresses = std::make_shared<const ExternalAddresses>(entries);
      set_pair(state, kPair);
      state.networks[0].hosts =
          WordTable<InsideHost>({{kPair.internal.raw(), {.mac = vm_mac(1), .port = kVm1}}});
    });
  }
  std::uint64_t sessions() {
    std::uint64_t active = 0;
    for (unsigned worker = 0; worker < GetParam(); ++worker)
      active += bed.worker(worker).conntrack().statistics().active;
    return active;
  }
};

Packet from_vm1(std::uint16_t port, std::uint16_t remote_port = 443, const char* remote = kServer) {
  return Packet().from(vm_mac(1), kVm1Address, port).to(kRedMac, remote, remote_port);
}
Packet from_vm2(std::uint16_t port, const char* remote = kServer, std::uint16_t remote_port = 443) {
  return Packet().from(vm_mac(2), kVm2Address, port).to(kRedMac, remote, remote_port);
}
Packet from_remote(std::uint16_t to, std::uint16_t from = 4000, const char* address = kOwn) {
  return Packet().from(kRouterMac, kServer, from).to(kUplinkMac, address, to);
}

TEST_P(StaticNat, TheVmsFlowsLeaveWithItsAddressAndKeepEveryPort) {
  for (const std::uint16_t port : {1, 53, 1023, 1024, 40000, 65535}) {
    EXPECT_EQ(source_of(sent(kVm1, from_vm1(port).udp(), kUplink)), endpoint(kOwn, port));
    EXPECT_EQ(source_of(sent(kVm1, from_vm1(port).tcp(TcpHeader::kSyn), kUplink)), endpoint(kOwn, port));
    EXPECT_EQ(source_of(sent(kVm1, from_vm1(port, 0).icmp_echo(IcmpType::EchoRequest, port), kUplink)),
              endpoint(kOwn, port));
    EXPECT_EQ(destination_of(sent(kUplink, from_remote(port, 443).udp(), kVm1)), endpoint(kVm1Address, port));
    EXPECT_EQ(destination_of(sent(kUplink, from_remote(port, 0).icmp_echo(IcmpType::EchoReply, port), kVm1)),
              endpoint(kVm1Address, port));
  }
  EXPECT_EQ(sessions(), 18u);
}

TEST_P(StaticNat, NobodyElseGetsTheAddressAndTheOthersKeepTheirs) {
  EXPECT_EQ(to_string(source_of(sent(kVm1, from_vm1(40000).udp(), kUplink))), "203.0.113.20:40000");
  EXPECT_EQ(to_string(source_of(sent(kVm2, from_vm2(40000).udp(), kUplink)).address), kExternal);
  const Packet other = Packet().from(vm_mac(4), "192.168.5.10", 40001).to(kBlueMac, kServer, 443).udp();
  EXPECT_EQ(to_string(source_of(sent(kVm4, other, kUplink)).address), kExternal);
}

TEST_P(StaticNat, ARemoteOpensToAnyPortAndTheVmsAnswersFindTheSession) {
  for (const std::uint16_t port : {22, 8080, 50000}) {
    const Bytes syn = sent(kUplink, from_remote(port).tcp(TcpHeader::kSyn), kVm1);
    EXPECT_EQ(destination_of(syn), endpoint(kVm1Address, port));
    EXPECT_EQ(to_string(source_of(syn)), "198.51.100.7:4000");
    const Packet answer = from_vm1(port, 4000).tcp(TcpHeader::kSyn | TcpHeader::kAck);
    EXPECT_EQ(source_of(sent(kVm1, answer, kUplink)), endpoint(kOwn, port));
    EXPECT_EQ(destination_of(sent(kUplink, from_remote(port).udp(), kVm1)), endpoint(kVm1Address, port));
    EXPECT_EQ(source_of(sent(kVm1, from_vm1(port, 4000).udp(), kUplink)), endpoint(kOwn, port));
  }
  EXPECT_EQ(sessions(), 6u);
}

TEST_P(StaticNat, WhoeverSpeaksFirstBothDirectionsAreOneSession) {
  sent(kVm1, from_vm1(123, 123).udp(), kUplink);
  sent(kUplink, from_remote(123, 123).udp(), kVm1);
  sent(kUplink, from_remote(124, 124).udp(), kVm1);
  sent(kVm1, from_vm1(124, 124).udp(), kUplink);
  EXPECT_EQ(sessions(), 2u);
}

TEST_P(StaticNat, PingsReachTheVmWhichAnswersThemItself) {
  const Bytes ping = sent(kUplink, from_remote(0, 0).icmp_echo(IcmpType::EchoRequest, 77), kVm1);
  EXPECT_EQ(icmp(ping).type, IcmpType::EchoRequest);
  EXPECT_EQ(to_string(ip(ping).destination), kVm1Address);
  const Bytes reply = sent(kVm1, from_vm1(0, 0).icmp_echo(IcmpType::EchoReply, 77), kUplink);
  EXPECT_EQ(source_of(reply), endpoint(kOwn, 77));
  const Packet of_gateway = from_remote(0, 0, kExternal).icmp_echo(IcmpType::EchoRequest, 78);
  EXPECT_EQ(icmp(sent(kUplink, of_gateway, kUplink)).type, IcmpType::EchoReply)
      << "the gateway's are its own";
}

TEST_P(StaticNat, AnEchoReplyThatNobodyAskedForIsRefused) {
  bed.exchange(kUplink, from_remote(0, 0).icmp_echo(IcmpType::EchoReply, 79).frame());
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 1u);
}

TEST_P(StaticNat, ProtocolsWithoutPortsPassBothWaysWhoeverBegins) {
  for (const std::uint8_t number : {kGre, kEsp, kSctp, kUnassigned}) {
    SCOPED_TRACE(unsigned{number});
    const Packet out = from_vm1(0, 0).protocol(number).payload(40);
    const Packet in = from_remote(0, 0).protocol(number).payload(40);
    EXPECT_EQ(to_string(ip(sent(kVm1, out, kUplink)).source), kOwn);
    EXPECT_EQ(to_string(ip(sent(kUplink, in, kVm1)).destination), kVm1Address);
    const Packet other = Packet(in).from(kRouterMac, "198.51.100.9");
    EXPECT_EQ(to_string(ip(sent(kUplink, other, kVm1)).destination), kVm1Address) << "the remote begins";
    const Packet back = Packet(out).to(kRedMac, "198.51.100.9");
    EXPECT_EQ(to_string(ip(sent(kVm1, back, kUplink)).source), kOwn);
    const Packet shared = from_vm2(0, kServer, 0).protocol(number).payload(40);
    EXPECT_EQ(to_string(ip(sent(kVm2, shared, kUplink)).source), kExternal)
        << "another VM has the same remote, by the other address";
  }
  EXPECT_EQ(sessions(), 12u);
}

TEST_P(StaticNat, OtherVmsReachItByTheExternalAddressAndAreSeenByTheirs) {
  const Bytes syn = sent(kVm2, from_vm2(5000, kOwn, 80).tcp(TcpHeader::kSyn), kVm1);
  EXPECT_EQ(to_string(source_of(syn)), "203.0.113.2:5000") << "RFC 4787 REQ-9";
  EXPECT_EQ(to_string(destination_of(syn)), "192.168.122.10:80");
  const Packet answer = from_vm1(80, 5000, kExternal).tcp(TcpHeader::kSyn | TcpHeader::kAck);
  EXPECT_EQ(to_string(source_of(sent(kVm1, answer, kVm2))), "203.0.113.20:80");
  const Packet hello = Packet().from(vm_mac(4), "192.168.5.10", 5000).to(kBlueMac, kOwn, 53).udp();
  EXPECT_EQ(to_string(destination_of(sent(kVm4, hello, kVm1))), "192.168.122.10:53") << "another network";
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
}

TEST_P(StaticNat, OtherVmsPingItAndSpeakProtocolsWithoutPorts) {
  const Packet ping = from_vm2(0, kOwn, 0).icmp_echo(IcmpType::EchoRequest, 9);
  const Bytes seen = sent(kVm2, ping, kVm1);
  EXPECT_EQ(icmp(seen).type, IcmpType::EchoRequest);
  const std::uint16_t identifier = source_of(seen).port.host();  // the shared address has no low ones
  const Packet reply = from_vm1(0, 0, kExternal).icmp_echo(IcmpType::EchoReply, identifier);
  EXPECT_EQ(icmp(sent(kVm1, reply, kVm2)).type, IcmpType::EchoReply);
  const Packet gre = from_vm2(0, kOwn, 0).protocol(kGre).payload(40);
  EXPECT_EQ(to_string(ip(sent(kVm2, gre, kVm1)).source), kExternal);
  const Packet back = from_vm1(0, 0, kExternal).protocol(kGre).payload(40);
  EXPECT_EQ(to_string(ip(sent(kVm1, back, kVm2)).source), kOwn);
  bed.exchange(kVm1, from_vm1(0, 0, kExternal).protocol(kEsp).payload(40).frame());
  EXPECT_EQ(bed.dropped(DropReason::Hairpin), 1u) << "to nobody: the shared address has no VM for it";
}

TEST_P(StaticNat, TheVmReachesItselfByItsAddress) {
  const Bytes syn = sent(kVm1, from_vm1(5000, 80, kOwn).tcp(TcpHeader::kSyn), kVm1);
  EXPECT_EQ(to_string(source_of(syn)), "203.0.113.20:5000");
  EXPECT_EQ(to_string(destination_of(syn)), "192.168.122.10:80");
  const Packet answer = from_vm1(80, 5000, kOwn).tcp(TcpHeader::kSyn | TcpHeader::kAck);
  EXPECT_EQ(to_string(source_of(sent(kVm1, answer, kVm1))), "203.0.113.20:80");
}

TEST_P(StaticNat, ErrorsPassAboutWhateverPasses) {
  const auto error_in = [](const Bytes& about) {
    return Packet()
        .from(kRouterMac, "198.51.100.1")
        .to(kUplinkMac, kOwn)
        .icmp_error(IcmpType::TimeExceeded, 0, quoted(about, 8));
  };
  const auto error_out = [](const Bytes& about) {
    return Packet()
        .from(vm_mac(1), kVm1Address)
        .to(kRedMac, kServer)
        .icmp_error(IcmpType::DestinationUnreachable, 3, quoted(about, 8));
  };
  const std::vector<Packet> outbound{from_vm1(6000).udp(), from_vm1(6000).tcp(TcpHeader::kSyn),
                                     from_vm1(0, 0).icmp_echo(IcmpType::EchoRequest, 6),
                                     from_vm1(0, 0).protocol(kGre).payload(40)};
  for (const Packet& packet : outbound) {
    const Bytes seen = sent(kUplink, error_in(sent(kVm1, packet, kUplink)), kVm1);
    EXPECT_EQ(quote_in(seen), quoted(Packet(packet).ttl(63).frame(), 8)) << describe(packet.frame());
  }
  const std::vector<Packet> inbound{from_remote(7000).udp(), from_remote(7000).tcp(TcpHeader::kSyn),
                                    from_remote(0, 0).icmp_echo(IcmpType::EchoRequest, 7),
                                    from_remote(0, 0).protocol(kEsp).payload(40)};
  for (const Packet& packet : inbound) {
    SCOPED_TRACE(describe(packet.frame()));
    const Bytes seen = sent(kVm1, error_out(sent(kUplink, packet, kVm1)), kUplink);
    EXPECT_EQ(to_string(ip(seen).source), kOwn);
    EXPECT_EQ(quote_in(seen), quoted(Packet(packet).ttl(63).frame(), 8)) << describe(packet.frame());
  }
  const Bytes reply = sent(kVm1, from_vm1(0, 0).icmp_echo(IcmpType::EchoReply, 7), kUplink);
  EXPECT_EQ(quote_in(sent(kUplink, error_in(reply), kVm1)),
            quoted(from_vm1(0, 0).icmp_echo(IcmpType::EchoReply, 7).ttl(63).frame(), 8));
}

TEST_P(StaticNat, FragmentsReachTheVmAndLeaveWithItsAddress) {
  const Bytes datagram = from_remote(9000).udp().payload(3000).frame();
  for (const Bytes& fragment : cut(datagram, 1480)) bed.put(kUplink, fragment);
  bed.run();
  const auto received = joined(bed.take(kVm1));
  ASSERT_TRUE(received);
  EXPECT_EQ(destination_of(*received), endpoint(kVm1Address, 9000));
  EXPECT_TRUE(has_good_checksums(*received));
  const Bytes ping = from_remote(0, 0).icmp_echo(IcmpType::EchoRequest, 80).payload(3000).frame();
  for (const Bytes& fragment : cut(ping, 1480)) bed.put(kUplink, fragment);
  bed.run();
  EXPECT_TRUE(joined(bed.take(kVm1))) << "a long ping, too";
  for (const Bytes& fragment : cut(from_vm1(9000, 4000).udp().payload(3000).frame(), 1480))
    bed.put(kVm1, fragment);
  bed.run();
  const auto answer = joined(bed.take(kUplink));
  ASSERT_TRUE(answer);
  EXPECT_EQ(source_of(*answer), endpoint(kOwn, 9000));
  EXPECT_TRUE(has_good_checksums(*answer));
}

TEST_P(StaticNat, ArpForTheAddressIsAnsweredAtTheUplink) {
  bed.exchange(kUplink,
               arp(net::ArpOperation::Request, kRouterMac, "203.0.113.1", {}, kOwn, net::kBroadcastMac));
  const Bytes reply = only(bed.take(kUplink));
  EXPECT_EQ(ethernet(reply).destination, kRouterMac);
  EXPECT_EQ(net::view<net::ArpPacket>(reply, 14)->sender_address, kPair.external);
  EXPECT_EQ(net::view<net::ArpPacket>(reply, 14)->sender_mac, kUplinkMac);
}

TEST_P(StaticNat, WhoCannotBeARemoteIsNone) {
  for (const char* source : {kVm2Address, kExternal, kOwn, "127.0.0.1", "224.0.0.1"})
    bed.exchange(kUplink, Packet().from(kRouterMac, source, 4000).to(kUplinkMac, kOwn, 22).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::SourceForeign), 5u);
  bed.exchange(kUplink, from_remote(22).tcp(TcpHeader::kAck).frame());
  EXPECT_EQ(bed.dropped(DropReason::TcpNotSyn), 1u);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
}

TEST_P(StaticNat, AVmThatIsNotThereIsToldOf) {
  bed.change_state([](ForwardingState& state) { state.networks[0].hosts = {}; });
  const Bytes error = sent(kUplink, from_remote(22).tcp(TcpHeader::kSyn), kUplink);
  EXPECT_EQ(icmp(error).type, IcmpType::DestinationUnreachable);
  EXPECT_EQ(icmp(error).code, 1);
  EXPECT_EQ(bed.dropped(DropReason::HostUnresolved), 1u);
}

TEST_P(StaticNat, WhileItDrainsSessionsGoOnAndNoneOpensEitherWay) {
  sent(kVm1, from_vm1(5000).udp(), kUplink);
  bed.change_state([](ForwardingState& state) {
    AddressPair draining = kPair;
    draining.is_draining = true;
    set_pair(state, draining);
  });
  EXPECT_EQ(to_string(source_of(sent(kVm1, from_vm1(5000).udp(), kUplink))), "203.0.113.20:5000");
  sent(kUplink, from_remote(5000, 443).udp(), kVm1);
  bed.exchange(kVm1, from_vm1(5001).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::NoPort), 1u) << "not by an address that others share";
  bed.exchange(kUplink, from_remote(5002).tcp(TcpHeader::kSyn).frame());
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 1u);
  EXPECT_THAT(bed.take(kVm1), SizeIs(1)) << "an ICMP error";
  EXPECT_EQ(sessions(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Workers, StaticNat, ::testing::Values(1u, 2u, 3u));

}  // namespace
}  // namespace vmnat::test
