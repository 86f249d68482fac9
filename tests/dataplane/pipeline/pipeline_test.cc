// SPDX-License-Identifier: Apache-2.0
// A packet's way, packet in / packet out, with the exact non-zero counters afterwards.
#include <random>
#include <set>

#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using net::IcmpType;
using net::to_string;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

Packet outbound(std::uint16_t port = 40000) {
  return Packet().from(vm_mac(1), kVm1Address, port).to(kRedMac, kServer, 80);
}
Packet reply_to(const Bytes& sent) {
  const net::Endpoint external = source_of(sent);
  return Packet()
      .from(kRouterMac, kServer, 80)
      .to(kUplinkMac, to_string(external.address), external.port.host());
}
unsigned ttl_of(const Bytes& frame) {
  return net::view<net::Ipv4Header>(frame, 14)->ttl;
}

class Pipeline : public OnTestbed {};

TEST_F(Pipeline, TranslatesUdpOutAndTheReplyBack) {
  bed.exchange(kVm1, outbound().udp().frame());
  const Bytes sent = only(bed.take(kUplink));
  EXPECT_EQ(to_string(source_of(sent)), "203.0.113.2:40000") << "the port is kept when it is free";
  EXPECT_EQ(to_string(destination_of(sent)), "198.51.100.7:80");
  EXPECT_EQ(ethernet(sent).source, kUplinkMac);
  EXPECT_EQ(ethernet(sent).destination, kRouterMac);
  EXPECT_EQ(ttl_of(sent), 63u);
  EXPECT_TRUE(has_good_checksums(sent));

  bed.exchange(kUplink, reply_to(sent).udp().ttl(50).frame());
  const Bytes received = only(bed.take(kVm1));
  EXPECT_EQ(to_string(source_of(received)), "198.51.100.7:80");
  EXPECT_EQ(to_string(destination_of(received)), "192.168.122.10:40000");
  EXPECT_EQ(ethernet(received).source, kRedMac);
  EXPECT_EQ(ethernet(received).destination, vm_mac(1));
  EXPECT_EQ(ttl_of(received), 49u);
  EXPECT_TRUE(has_good_checksums(received));
  EXPECT_THAT(bed.counts(), UnorderedElementsAre(Pair("vm1.rx", 1), Pair("vm1.tx", 1), Pair("uplink.rx", 1),
                                                 Pair("uplink.tx", 1)));
}

TEST_F(Pipeline, TranslatesTcpOutAndTheReplyBack) {
  bed.exchange(kVm1, outbound().tcp(net::TcpHeader::kSyn).frame());
  const Bytes sent = only(bed.take(kUplink));
  EXPECT_EQ(to_string(source_of(sent)), "203.0.113.2:40000");
  EXPECT_TRUE(has_good_checksums(sent));
  bed.exchange(kUplink, reply_to(sent).tcp(net::TcpHeader::kSyn | net::TcpHeader::kAck).frame());
  const Bytes received = only(bed.take(kVm1));
  EXPECT_EQ(to_string(destination_of(received)), "192.168.122.10:40000");
  EXPECT_TRUE(has_good_checksums(received));
}

TEST_F(Pipeline, TranslatesPingOutAndTheReplyBack) {
  bed.exchange(
      kVm1,
      Packet().from(vm_mac(1), kVm1Address).to(kRedMac, kServer).icmp_echo(IcmpType::EchoRequest, 7).frame());
  const Bytes sent = only(bed.take(kUplink));
  EXPECT_EQ(to_string(source_of(sent).address), kExternal);
  EXPECT_GE(source_of(sent).port.host(), 1024) << "identifiers come from the ports' range";
  EXPECT_TRUE(has_good_checksums(sent));
  bed.exchange(kUplink, Packet()
                            .from(kRouterMac, kServer)
                            .to(kUplinkMac, kExternal)
                            .icmp_echo(IcmpType::EchoReply, source_of(sent).port.host())
                            .frame());
  const Bytes received = only(bed.take(kVm1));
  EXPECT_EQ(source_of(received).port.host(), 7) << "the VM's own identifier";
  EXPECT_EQ(to_string(destination_of(received).address), kVm1Address);
  EXPECT_TRUE(has_good_checksums(received));
}

// A session is found by its external endpoint, too: not by a VM that takes that for its own source ...
TEST_F(Pipeline, SendsNothingForAVmThatUsesTheExternalEndpointOfASessionAsItsSource) {
  bed.exchange(kVm1, outbound().udp().frame());
  const net::Endpoint external = source_of(only(bed.take(kUplink)));
  const auto forged = [&](std::uint8_t number) {
    return Packet()
        .from(vm_mac(number), kExternal, external.port.host())
        .to(number == 4 ? kBlueMac : kRedMac, kServer, 80)
        .udp()
        .frame();
  };
  bed.exchange(kVm1, forged(1));
  bed.exchange(kVm2, forged(2));
  bed.exchange(kVm4, forged(4));
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::SourceForeign), 3u);
}

// ... and by its internal one: not by a remote that sends there.
TEST_F(Pipeline, TakesNothingFromOutsideThatIsForTheInternalEndpointOfASession) {
  bed.exchange(kVm1, outbound().udp().frame());
  bed.take(kUplink);
  bed.exchange(kUplink,
               Packet().from(kRouterMac, kServer, 80).to(kUplinkMac, kVm1Address, 40000).udp().frame());
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::NotExternal), 1u);
}

// No learned MAC is all zeros: such a frame is for nobody known, and floods its network, never the uplink.
TEST_F(Pipeline, FloodsAFrameToTheZeroMacOnItsNetworkAlone) {
  bed.exchange(kVm1, outbound().to({}, kServer, 80).udp().frame());
  EXPECT_THAT(bed.take(kUplink), IsEmpty());
  EXPECT_EQ(bed.take(kVm2).size(), 1u);
  EXPECT_EQ(bed.take(kVm3).size(), 1u);
  EXPECT_THAT(bed.take(kVm4), IsEmpty());
}

TEST_F(Pipeline, TranslatesOtherProtocolsByAddressAlone) {
  const Bytes frame = Packet().from(vm_mac(1), kVm1Address).to(kRedMac, kServer).protocol(47).frame();
  bed.exchange(kVm1, frame);
  const Bytes sent = only(bed.take(kUplink));
  EXPECT_EQ(to_string(net::view<net::Ipv4Header>(sent, 14)->source), kExternal);
  EXPECT_TRUE(has_good_checksums(sent));
  EXPECT_TRUE(std::equal(sent.begin() + 34, sent.end(), frame.begin() + 34)) << "the payload is untouched";
  bed.exchange(kUplink, Packet().from(kRouterMac, kServer).to(kUplinkMac, kExternal).protocol(47).frame());
  EXPECT_EQ(to_string(net::view<net::Ipv4Header>(only(bed.take(kVm1)), 14)->destination), kVm1Address);
}

TEST_F(Pipeline, KeepsIpOptionsAndUdpWithoutChecksum) {
  bed.exchange(kVm1, outbound().udp().options(3).without_udp_checksum().frame());
  const Bytes sent = only(bed.take(kUplink));
  EXPECT_EQ(sent.size(), outbound().udp().options(3).frame().size());
  EXPECT_EQ(net::view<net::UdpHeader>(sent, 14 + 32)->checksum.raw(), 0) << "RFC 768: none stays none";
  EXPECT_TRUE(has_good_checksums(sent));
}

TEST_F(Pipeline, KeepsRecordRouteAndWhatStandsBehindTheEndOfTheOptions) {
  const std::vector<unsigned> record_route{7, 7, 4, 0, 0, 0, 0, 0}, after_end{0, 131, 3, 4};
  for (const auto& options : {record_route, after_end}) {
    const Bytes frame = outbound().udp().options(options).frame();
    bed.exchange(kVm1, frame);
    const Bytes sent = only(bed.take(kUplink));
    const auto count = static_cast<std::ptrdiff_t>(options.size());
    EXPECT_TRUE(std::equal(sent.begin() + 34, sent.begin() + 34 + count, frame.begin() + 34));
    EXPECT_TRUE(has_good_checksums(sent));
  }
}

TEST_F(Pipeline, GivesEveryInternalEndpointAPortOfItsOwnInTheRange) {
  bed.learn(kVm2, vm_mac(2));
  for (const std::uint16_t port : {53, 1023, 40000}) {
    bed.put(kVm1, outbound(port).udp().frame());
    bed.put(kVm2, Packet().from(vm_mac(2), "192.168.122.11", port).to(kRedMac, kServer, 80).udp().frame());
  }
  bed.run();
  std::set<std::uint16_t> ports;
  for (const Bytes& sent : bed.take(kUplink)) ports.insert(source_of(sent).port.host());
  EXPECT_EQ(ports.size(), 6u);
  EXPECT_GE(*ports.begin(), 1024);
}

TEST_F(Pipeline, ASegmentBehindItsSynInOneBurstFindsTheSession) {
  bed.put(kVm1, outbound().tcp(net::TcpHeader::kSyn).frame());
  bed.put(kVm1, outbound().tcp(net::TcpHeader::kAck).frame());
  bed.run();
  EXPECT_EQ(bed.take(kUplink).size(), 2u);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().created, 1u);
  EXPECT_EQ(bed.dropped(DropReason::TcpNotSyn), 0u);
}

TEST_F(Pipeline, FramesOfOneNewFlowInOneBurstShareASession) {
  for (int i = 0; i < 5; ++i) bed.put(kVm1, outbound().udp().frame());
  bed.run();
  for (const Bytes& sent : bed.take(kUplink)) EXPECT_EQ(source_of(sent).port.host(), 40000);
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 1u);
}

TEST_F(Pipeline, SessionsExpireAndTheirPortsComeBack) {
  bed.exchange(kVm1, outbound().udp().frame());
  const Bytes sent = only(bed.take(kUplink));
  bed.advance(std::chrono::seconds(29));
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 1u);
  bed.advance(std::chrono::seconds(5));
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 0u);
  bed.exchange(kUplink, reply_to(sent).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 1u);
}

TEST_F(Pipeline, AConversationLastsLongerThanAQuestion) {
  bed.exchange(kVm1, outbound().udp().frame());
  const Bytes sent = only(bed.take(kUplink));
  bed.exchange(kUplink, reply_to(sent).udp().frame());
  bed.exchange(kVm1, outbound().udp().frame());
  bed.advance(std::chrono::seconds(299));
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 1u);
  bed.advance(std::chrono::seconds(5));
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 0u);
}

TEST_F(Pipeline, AnswersArpForTheGateway) {
  bed.exchange(
      kVm1, arp(net::ArpOperation::Request, vm_mac(1), kVm1Address, {}, "192.168.122.1", net::kBroadcastMac));
  const Bytes reply = only(bed.take(kVm1));
  const auto& packet = *net::view<net::ArpPacket>(reply, 14);
  EXPECT_EQ(packet.op(), net::ArpOperation::Reply);
  EXPECT_EQ(packet.sender_mac, kRedMac);
  EXPECT_EQ(to_string(packet.sender_address), "192.168.122.1");
  EXPECT_EQ(packet.target_mac, vm_mac(1));
  EXPECT_EQ(to_string(packet.target_address), kVm1Address);
  EXPECT_EQ(ethernet(reply).destination, vm_mac(1));
  EXPECT_THAT(bed.counts(), UnorderedElementsAre(Pair("vm1.rx", 1), Pair("vm1.tx", 1)));
}

TEST_F(Pipeline, AnswersPingOfTheGatewayAndOfTheUplinkAddress) {
  bed.exchange(kVm1, Packet()
                         .from(vm_mac(1), kVm1Address)
                         .to(kRedMac, "192.168.122.1")
                         .ttl(1)
                         .icmp_echo(IcmpType::EchoRequest, 9)
                         .frame());
  const Bytes inside = only(bed.take(kVm1));
  EXPECT_EQ(to_string(source_of(inside)), "192.168.122.1:9");
  EXPECT_TRUE(has_good_checksums(inside));
  bed.exchange(kUplink, Packet()
                            .from(kRouterMac, kServer)
                            .to(kUplinkMac, kExternal)
                            .icmp_echo(IcmpType::EchoRequest, 9)
                            .frame());
  const Bytes outside = only(bed.take(kUplink));
  EXPECT_EQ(to_string(source_of(outside).address), kExternal);
  EXPECT_EQ(ethernet(outside).destination, kRouterMac);
  EXPECT_TRUE(has_good_checksums(outside));
}

TEST_F(Pipeline, AnswersAVmsPingOfTheUplinkAddress) {
  bed.exchange(kVm1, Packet()
                         .from(vm_mac(1), kVm1Address)
                         .to(kRedMac, kExternal)
                         .icmp_echo(IcmpType::EchoRequest, 9)
                         .frame());
  const Bytes reply = only(bed.take(kVm1));
  EXPECT_EQ(to_string(source_of(reply)), "203.0.113.2:9");
  EXPECT_EQ(to_string(destination_of(reply).address), kVm1Address);
  EXPECT_TRUE(has_good_checksums(reply));
  EXPECT_EQ(bed.worker(0).conntrack().statistics().active, 0u);
}

TEST_F(Pipeline, AnEchoRequestFromOutsideNeverReachesTheVmThatPings) {
  bed.exchange(kVm1, Packet()
                         .from(vm_mac(1), kVm1Address)
                         .to(kRedMac, kServer)
                         .icmp_echo(IcmpType::EchoRequest, 4000)
                         .frame());
  bed.take(kUplink);
  bed.exchange(kUplink, Packet()
                            .from(kRouterMac, kServer)
                            .to(kUplinkMac, kExternal)
                            .icmp_echo(IcmpType::EchoRequest, 4000)
                            .frame());
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
}

TEST_F(Pipeline, SwitchesBetweenVmsOfANetworkUntouched) {
  bed.learn(kVm2, vm_mac(2));
  const Bytes frame =
      Packet().from(vm_mac(1), kVm1Address, 1000).to(vm_mac(2), "192.168.122.11", 2000).udp().frame();
  bed.exchange(kVm1, frame);
  EXPECT_THAT(bed.take(kVm2), ElementsAre(frame));
  const Bytes ipv6 = outbound().frame([](Bytes& bytes) {
    bytes[12] = std::byte{0x86};
    bytes[13] = std::byte{0xdd};
    std::memcpy(bytes.data(), vm_mac(2).bytes.data(), 6);
  });
  bed.exchange(kVm1, ipv6);
  EXPECT_THAT(bed.take(kVm2), ElementsAre(ipv6)) << "whatever it carries";
  EXPECT_THAT(bed.counts(), UnorderedElementsAre(Pair("vm1.rx", 2), Pair("vm2.tx", 2)));
}

TEST_F(Pipeline, FloodsBroadcastAndUnknownWithinTheNetworkOnly) {
  const Bytes broadcast =
      Packet().from(vm_mac(1), kVm1Address, 1).to(net::kBroadcastMac, "192.168.122.255", 2).udp().frame();
  bed.exchange(kVm1, broadcast);
  EXPECT_THAT(bed.take(kVm2), ElementsAre(broadcast));
  EXPECT_THAT(bed.take(kVm3), ElementsAre(broadcast));
  const Bytes unknown =
      Packet().from(vm_mac(1), kVm1Address, 1).to(vm_mac(9), "192.168.122.99", 2).udp().frame();
  bed.exchange(kVm1, unknown);
  EXPECT_THAT(bed.take(kVm2), ElementsAre(unknown));
  EXPECT_THAT(bed.counts(), UnorderedElementsAre(Pair("vm1.rx", 2), Pair("vm2.tx", 2), Pair("vm3.tx", 2),
                                                 Pair("flood_copies", 2)));
}

TEST_F(Pipeline, ReportsEveryNewSourceMac) {
  EXPECT_THAT(bed.take_learned(), IsEmpty());
  bed.exchange(kVm2, Packet()
                         .from(vm_mac(2), "192.168.122.11", 1)
                         .to(net::kBroadcastMac, "192.168.122.255", 2)
                         .udp()
                         .frame());
  const auto learned = bed.take_learned();
  ASSERT_EQ(learned.size(), 1u);
  EXPECT_EQ(learned[0].mac, vm_mac(2));
  EXPECT_EQ(learned[0].port, kVm2);
  bed.learn(kVm2, vm_mac(2));
  bed.exchange(kVm2, Packet()
                         .from(vm_mac(2), "192.168.122.11", 1)
                         .to(net::kBroadcastMac, "192.168.122.255", 2)
                         .udp()
                         .frame());
  EXPECT_THAT(bed.take_learned(), IsEmpty()) << "what everybody knows is not reported again";
}

TEST_F(Pipeline, PuntsDhcpWhereTheNetworkHasItAndFloodsItElsewhere) {
  const auto discover = [](std::uint8_t vm) {
    return Packet()
        .from(vm_mac(vm), "0.0.0.0", 68)
        .to(net::kBroadcastMac, "255.255.255.255", 67)
        .udp()
        .payload(300)
        .frame();
  };
  bed.exchange(kVm1, discover(1));
  EXPECT_EQ(bed.take_punted().size(), 1u);
  EXPECT_THAT(bed.take(kVm2), IsEmpty());
  bed.exchange(kVm4, discover(4));
  EXPECT_THAT(bed.take_punted(), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::NoListener), 1u);
  const Bytes renew =
      Packet().from(vm_mac(1), kVm1Address, 68).to(kRedMac, "192.168.122.1", 67).udp().payload(300).frame();
  bed.exchange(kVm1, renew);
  EXPECT_THAT(bed.take_punted(), ElementsAre(renew)) << "RFC 2131 4.3.2: a renewal comes by unicast";
}

TEST_F(Pipeline, PuntsTranslatedFramesWhoseNextHopIsUnknown) {
  bed.exchange(kVm1,
               Packet().from(vm_mac(1), kVm1Address, 5000).to(kRedMac, "203.0.113.77", 80).udp().frame());
  const Bytes punted = only(bed.take_punted());
  EXPECT_EQ(to_string(source_of(punted)), "203.0.113.2:5000")
      << "already translated: nothing inside leaks later";
  EXPECT_TRUE(has_good_checksums(punted));
  const net::MacAddr neighbor{{2, 0, 0, 0, 0, 0x77}};
  bed.change_state([&](dataplane::ForwardingState& state) {
    state.uplinks[0].neighbors =
        dataplane::WordTable<dataplane::NextHop>({{net::parse_ipv4("203.0.113.77")->raw(), {neighbor}}});
  });
  bed.exchange(kVm1,
               Packet().from(vm_mac(1), kVm1Address, 5000).to(kRedMac, "203.0.113.77", 80).udp().frame());
  EXPECT_EQ(ethernet(only(bed.take(kUplink))).destination, neighbor);
}

TEST_F(Pipeline, AnswersArpForItsExternalAddressAndPuntsReplies) {
  bed.exchange(kUplink,
               arp(net::ArpOperation::Request, kRouterMac, "203.0.113.1", {}, kExternal, net::kBroadcastMac));
  EXPECT_EQ(net::view<net::ArpPacket>(only(bed.take(kUplink)), 14)->sender_mac, kUplinkMac);
  const Bytes reply =
      arp(net::ArpOperation::Reply, kRouterMac, "203.0.113.1", kUplinkMac, kExternal, kUplinkMac);
  bed.exchange(kUplink, reply);
  EXPECT_THAT(bed.take_punted(), ElementsAre(reply));
  EXPECT_THAT(bed.counts(),
              UnorderedElementsAre(Pair("uplink.rx", 2), Pair("uplink.tx", 1), Pair("punt.arp_reply", 1)));
}

TEST_F(Pipeline, SendsInjectedFrames) {
  const Bytes frame = outbound().frame();
  bed.inject(kVm1, frame);
  bed.run();
  EXPECT_THAT(bed.take(kVm1), ElementsAre(frame));
  EXPECT_THAT(bed.counts(), UnorderedElementsAre(Pair("injected", 1), Pair("vm1.tx", 1)));
}

TEST_F(Pipeline, CountsFramesForAPortThatNobodyIsOn) {
  bed.learn(kVm2, vm_mac(2));
  bed.change_state([](dataplane::ForwardingState& state) { state.ports[kVm2].up = false; });
  bed.exchange(kVm1,
               Packet().from(vm_mac(1), kVm1Address, 1).to(vm_mac(2), "192.168.122.11", 2).udp().frame());
  EXPECT_THAT(bed.counts(), UnorderedElementsAre(Pair("vm1.rx", 1), Pair("drop.port_down", 1)));
}

TEST_F(Pipeline, ASessionFollowsItsVmToAnotherPortOfTheNetworkOnly) {
  bed.exchange(kVm1, outbound().udp().frame());
  const Bytes sent = only(bed.take(kUplink));
  bed.exchange(kVm4, Packet().from(vm_mac(4), kVm1Address, 40000).to(kBlueMac, kServer, 80).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::SourceForeign), 1u) << "another network's VM with the same address";
  bed.exchange(kVm2, Packet().from(vm_mac(2), kVm1Address, 40000).to(kRedMac, kServer, 80).udp().frame());
  bed.exchange(kUplink, reply_to(sent).udp().frame());
  EXPECT_EQ(ethernet(only(bed.take(kVm2))).destination, vm_mac(2));
}

struct Told {  // by ICMP
  IcmpType type;
  std::uint8_t code;
};
constexpr Told kNetUnreachable{IcmpType::DestinationUnreachable, 0};
constexpr Told kPortUnreachable{IcmpType::DestinationUnreachable, 3};
constexpr Told kProhibited{IcmpType::DestinationUnreachable, 13};

struct Dropped {
  const char* says;
  PortIndex port;
  Bytes frame;
  DropReason reason;
  std::optional<Told> told{};  // the sender, if it is told
};

std::vector<Dropped> drops() {
  const auto to_server = [](std::uint8_t vm, const char* from) {
    return Packet().from(vm_mac(vm), from, 9).to(kRedMac, kServer, 80);
  };
  const auto to = [](const char* address) {
    return Packet().from(vm_mac(1), kVm1Address, 9).to(kRedMac, address, 80).udp();
  };
  const auto inbound = [](const char* address) {
    return Packet().from(kRouterMac, kServer, 80).to(kUplinkMac, address, 40000);
  };
  const auto cut = [](std::size_t size) { return [size](Bytes& bytes) { bytes.resize(size); }; };
  const auto set = [](std::size_t at, unsigned value) {
    return [=](Bytes& bytes) { bytes[at] = static_cast<std::byte>(value); };
  };
  // The same with the header checksum mended: the fault itself is what is looked at.
  const auto set_ip = [](std::size_t at, unsigned value) {
    return [=](Bytes& bytes) {
      const auto old = static_cast<unsigned>(bytes[at]);
      bytes[at] = static_cast<std::byte>(value);
      const unsigned shift = at % 2 == 0 ? 8 : 0;
      unsigned sum = static_cast<unsigned>(bytes[24]) << 8 | static_cast<unsigned>(bytes[25]);
      sum = (~sum & 0xffff) + (~(old << shift) & 0xffff) + (value << shift);
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
      bytes[24] = static_cast<std::byte>(~sum >> 8);
      bytes[25] = static_cast<std::byte>(~sum);
    };
  };
  return {
      {"an Ethernet header cut short", kVm1, outbound().frame(cut(13)), DropReason::Runt},
      {"a source MAC that is a group", kVm1, outbound().frame(set(6, 0x53)), DropReason::SourceMac},
      {"a frame to the VM that sends it", kVm1,
       Packet().from(vm_mac(1), kVm1Address, 1).to(vm_mac(1), kVm1Address, 2).frame(), DropReason::SamePort},
      {"a broadcast on a port that is alone", kVm4,
       Packet().from(vm_mac(4), "192.168.5.10", 1).to(net::kBroadcastMac, "192.168.5.255", 2).udp().frame(),
       DropReason::NoListener},
      {"a VLAN tag on a frame for the gateway", kVm1, outbound().frame([](Bytes& b) {
         b[12] = std::byte{0x81};
         b[13] = std::byte{0};
       }),
       DropReason::VlanTagged},
      {"IPv6 for the gateway", kVm1, outbound().frame([](Bytes& b) {
         b[12] = std::byte{0x86};
         b[13] = std::byte{0xdd};
       }),
       DropReason::EtherType},
      {"an IPv4 header cut short", kVm1, outbound().frame(cut(33)), DropReason::IpHeader},
      {"IP version 6 in an IPv4 frame", kVm1, outbound().frame(set_ip(14, 0x65)), DropReason::IpHeader},
      {"an IHL below 5", kVm1, outbound().frame(set_ip(14, 0x44)), DropReason::IpHeader},
      {"an IHL beyond the total length", kVm1, outbound().payload(0).frame(set_ip(14, 0x4f)),
       DropReason::IpHeader},
      {"a total length beyond the frame", kVm1, outbound().frame(set_ip(17, 0xff)), DropReason::IpHeader},
      {"a total length below the header", kVm1, outbound().frame(set_ip(17, 19)), DropReason::IpHeader},
      {"a wrong header checksum", kVm1, outbound().frame(set(24, 0)), DropReason::IpChecksum},
      {"a loose source route", kVm1, outbound().udp().options({131, 7, 4, 10, 0, 0, 1, 0}).frame(),
       DropReason::IpOptions},
      {"a strict source route behind other options", kVm1,
       outbound().udp().options({1, 7, 7, 4, 0, 0, 0, 0, 137, 3, 4, 0}).frame(), DropReason::IpOptions},
      {"a source route from outside", kUplink, inbound(kExternal).udp().options({131, 3, 4, 0}).frame(),
       DropReason::IpOptions},
      {"an option of length 0", kVm1, outbound().udp().options({7, 0, 0, 0}).frame(), DropReason::IpOptions},
      {"an option beyond the header", kVm1, outbound().udp().options({7, 5, 4, 0}).frame(),
       DropReason::IpOptions},
      {"an option without its length", kVm1, outbound().udp().options({1, 1, 1, 7}).frame(),
       DropReason::IpOptions},
      {"a UDP header cut short", kVm1, outbound().udp().payload(0).frame(set_ip(17, 27)),
       DropReason::L4Header},
      {"a UDP length of 0", kVm1, outbound().udp().frame([](Bytes& b) { b[38] = b[39] = std::byte{0}; }),
       DropReason::L4Header},
      {"a UDP length beyond the packet", kVm1, outbound().udp().frame(set(38, 1)), DropReason::L4Header},
      {"a TCP header cut short", kVm1, outbound().tcp(2).payload(0).frame(set_ip(17, 39)),
       DropReason::L4Header},
      {"a TCP data offset below 5", kVm1, outbound().tcp(2).frame(set(46, 0x40)), DropReason::L4Header},
      {"a TCP data offset beyond the packet", kVm1, outbound().tcp(2).payload(0).frame(set(46, 0xf0)),
       DropReason::L4Header},
      {"an ICMP header cut short", kVm1,
       to(kServer).icmp_echo(IcmpType::EchoRequest, 1).payload(0).frame(set_ip(17, 27)),
       DropReason::L4Header},
      {"a TTL of 1", kVm1, outbound().udp().ttl(1).frame(), DropReason::TtlExpired,
       Told{IcmpType::TimeExceeded, 0}},
      {"a source of another network", kVm1, to_server(1, "192.168.5.10").udp().frame(),
       DropReason::SourceForeign},
      {"a source from nowhere", kVm1, to_server(1, "8.8.8.8").udp().frame(), DropReason::SourceForeign},
      {"the gateway's address as source", kVm1, to_server(1, "192.168.122.1").udp().frame(),
       DropReason::SourceForeign},
      {"the network's broadcast as source", kVm1, to_server(1, "192.168.122.255").udp().frame(),
       DropReason::SourceForeign},
      {"a neighbour by way of the gateway", kVm1, to("192.168.122.11").frame(),
       DropReason::DestinationInside},
      {"another network", kVm1, to("192.168.5.10").frame(), DropReason::BetweenNetworks, kProhibited},
      {"another network's gateway", kVm1, to("192.168.5.1").frame(), DropReason::BetweenNetworks,
       kProhibited},
      {"link-local multicast", kVm1, to("224.0.0.1").frame(), DropReason::DestinationMulticast},
      {"limited broadcast", kVm1, to("255.255.255.255").frame(), DropReason::DestinationMulticast},
      {"the uplink's directed broadcast", kVm1, to("203.0.113.255").frame(),
       DropReason::DestinationMulticast},
      {"a loopback destination", kVm1, to("127.0.0.1").frame(), DropReason::DestinationInvalid},
      {"destination zero", kVm1, to("0.0.0.0").frame(), DropReason::DestinationInvalid},
      {"a class E destination", kVm1, to("250.0.0.1").frame(), DropReason::DestinationInvalid},
      {"an address of protocols", kVm1, to("192.0.0.170").frame(), DropReason::DestinationInvalid},
      {"a link-local destination", kVm1, to("169.254.169.254").frame(), DropReason::LinkLocal,
       kNetUnreachable},
      {"a port of our own external address that nobody has", kVm1, to(kExternal).frame(),
       DropReason::NoSession},
      {"our own external address, without a port", kVm1, to(kExternal).protocol(47).frame(),
       DropReason::Hairpin},
      {"our own external address from an isolated network", kVm5,
       Packet().from(vm_mac(5), "10.9.0.5", 9).to(kIslandMac, kExternal, 80).udp().frame(),
       DropReason::NoForwarding, kProhibited},
      {"the way out of an isolated network", kVm5,
       Packet().from(vm_mac(5), "10.9.0.5", 9).to(kIslandMac, kServer, 80).udp().frame(),
       DropReason::NoForwarding, kProhibited},
      {"a protocol that the gateway has not", kVm1, to("192.168.122.1").protocol(47).frame(),
       DropReason::GatewayService, Told{IcmpType::DestinationUnreachable, 2}},
      {"a service of the gateway, asked for in another network's name", kVm1,
       Packet().from(vm_mac(1), "192.168.5.10", 9).to(kRedMac, "192.168.122.1", 53).udp().frame(),
       DropReason::GatewayService},
      {"a packet beyond the uplink's MTU that may not be cut", kVm1,
       outbound().udp().payload(1473).fragment(0x4000).frame(), DropReason::TooBig,
       Told{IcmpType::DestinationUnreachable, 4}},
      {"inbound without a session from an inside address", kUplink,
       inbound(kExternal).from(kRouterMac, kVm1Address, 80).udp().frame(), DropReason::NoSession},
      {"inbound without a session from our own address", kUplink,
       inbound(kExternal).from(kRouterMac, kExternal, 80).udp().frame(), DropReason::NoSession},
      {"inbound without a session from the link's broadcast address", kUplink,
       inbound(kExternal).from(kRouterMac, "203.0.113.255", 80).udp().frame(), DropReason::NoSession},
      {"inbound without a session from a group", kUplink,
       inbound(kExternal).from(kRouterMac, "224.0.0.9", 80).udp().frame(), DropReason::NoSession},
      {"a service that the gateway has not", kVm1, to("192.168.122.1").frame(), DropReason::GatewayService,
       kPortUnreachable},
      {"an ICMP error that quotes nothing", kVm1,
       to(kServer).icmp_echo(IcmpType::DestinationUnreachable, 0).frame(), DropReason::IcmpErrorQuote},
      {"an echo reply that nobody asked for", kVm1, to(kServer).icmp_echo(IcmpType::EchoReply, 1).frame(),
       DropReason::IcmpType},
      {"an unknown ICMP type", kVm1, to(kServer).icmp_echo(static_cast<IcmpType>(42), 1).frame(),
       DropReason::IcmpType},
      {"TCP in mid-stream", kVm1, outbound().tcp(net::TcpHeader::kAck).frame(), DropReason::TcpNotSyn},
      {"an unasked ARP reply to the gateway", kVm1,
       arp(net::ArpOperation::Reply, vm_mac(1), kVm1Address, kRedMac, "192.168.122.1", kRedMac),
       DropReason::ArpUnasked},
      {"inbound without a session", kUplink, inbound(kExternal).udp().frame(), DropReason::NoSession,
       kPortUnreachable},
      {"an inbound SYN", kUplink, inbound(kExternal).tcp(net::TcpHeader::kSyn).frame(),
       DropReason::NoSession},
      {"inbound for an inside address", kUplink, inbound(kVm1Address).udp().frame(), DropReason::NotExternal},
      {"another host's frame on the uplink", kUplink,
       Packet().from(kRouterMac, kServer, 80).to(vm_mac(8), kExternal, 40000).udp().frame(),
       DropReason::NotForUs},
      {"a broadcast on the uplink", kUplink,
       Packet().from(kRouterMac, kServer, 80).to(net::kBroadcastMac, "255.255.255.255", 68).udp().frame(),
       DropReason::NotForUs},
      {"ARP on the uplink for somebody else", kUplink,
       arp(net::ArpOperation::Request, kRouterMac, "203.0.113.1", {}, "203.0.113.9", net::kBroadcastMac),
       DropReason::ArpUnasked},
      {"ARP on the uplink for an inside address", kUplink,
       arp(net::ArpOperation::Request, kRouterMac, "203.0.113.1", {}, "192.168.122.1", net::kBroadcastMac),
       DropReason::ArpUnasked},
      {"IPv6 on the uplink", kUplink, inbound(kExternal).frame([](Bytes& b) {
         b[12] = std::byte{0x86};
         b[13] = std::byte{0xdd};
       }),
       DropReason::EtherType},
      {"an empty frame on the uplink", kUplink, Bytes(1), DropReason::Runt},
  };
}

// The error goes back where the frame came from and quotes it as it came.
void expect_told(const Bytes& error, const Bytes& about, Told told, const char* says) {
  EXPECT_EQ(ethernet(error).destination, ethernet(about).source) << says;
  EXPECT_EQ(ethernet(error).source, ethernet(about).destination) << says;
  EXPECT_EQ(destination_of(error).address, source_of(about).address) << says;
  const auto& icmp = *net::view<net::IcmpHeader>(error, 34);
  EXPECT_EQ(icmp.type, told.type) << says;
  EXPECT_EQ(icmp.code, told.code) << says;
  EXPECT_TRUE(has_good_checksums(error)) << says;
  Bytes quote = quoted(about, 2000);
  quote.resize(std::min<std::size_t>(quote.size(), 548));
  EXPECT_EQ(quote_in(error), quote) << says;
}

TEST(PipelineDrops, EveryReasonForItsFrameAndTheSenderIsToldWhereItMayBe) {
  for (const Dropped& row : drops()) {
    Testbed bed;
    bed.learn(kVm1, vm_mac(1));
    bed.exchange(row.port, row.frame);
    const std::string port = row.port == kUplink ? "uplink" : "vm" + std::to_string(row.port);
    const std::string reason(dataplane::kDropNames[dataplane::index_of(row.reason)]);
    Counts expected{{port + ".rx", 1}, {"drop." + reason, 1}};
    if (row.told) {
      expected["generated"] = expected[port + ".tx"] = 1;
      expect_told(only(bed.take(row.port)), row.frame, *row.told, row.says);
    }
    EXPECT_EQ(bed.counts(), expected) << row.says << ": " << describe(row.frame);
  }
}

TEST(PipelineDrops, SessionsAtTheLimitOfAPort) {
  Testbed bed(1, {.sessions_per_port = 2});
  for (std::uint16_t port = 1; port <= 3; ++port) bed.put(kVm1, outbound(port).udp().frame());
  bed.run();
  EXPECT_EQ(bed.take(kUplink).size(), 2u);
  EXPECT_EQ(bed.dropped(DropReason::SessionLimit), 1u);
  EXPECT_TRUE(bed.is_balanced());
}

TEST(PipelineAccounting, EveryRandomFrameIsCountedOnceAndEveryBufferComesBack) {
  std::mt19937_64 random(4711);
  const std::vector<Dropped> seeds = drops();
  Testbed bed;
  bed.learn(kVm1, vm_mac(1));
  const std::size_t buffers = bed.free_buffers();
  for (int round = 0; round < 20'000; ++round) {
    Bytes frame = random() % 4 == 0 ? outbound(static_cast<std::uint16_t>(random())).udp().frame()
                                    : seeds[random() % seeds.size()].frame;
    for (unsigned changes = random() % 4; changes > 0 && !frame.empty(); --changes)
      frame[random() % frame.size()] = static_cast<std::byte>(random());
    if (random() % 4 == 0) frame.resize(random() % 3000);
    if (frame.empty()) frame.resize(1);
    if (random() % 2 == 0 && frame.size() >= 34 && frame[14] == std::byte{0x45}) {
      if (random() % 2 == 0)
        frame[20] = static_cast<std::byte>(random() % 2 * 0x20);  // fragments, low offsets
      mend_ip_checksum(frame);
    }
    bed.put(static_cast<PortIndex>(random() % kPortCount), frame);
    if (round % 16 == 0) {
      bed.run();
      for (const Bytes& sent : bed.take(kUplink)) {
        const auto* ip = net::view<net::Ipv4Header>(sent, 14);
        if (ip == nullptr || ethernet(sent).ether_type() != net::EtherType::Ipv4) continue;
        ASSERT_EQ(to_string(ip->source), kExternal) << "an inside address leaves: " << describe(sent);
      }
      for (unsigned port = 1; port < kPortCount; ++port) bed.take(static_cast<PortIndex>(port));
      bed.take_punted();
      bed.take_learned();
    }
  }
  bed.run();
  EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
  bed.advance(std::chrono::seconds(5));  // fragments have waited in vain
  for (unsigned port = 0; port < kPortCount; ++port) bed.take(static_cast<PortIndex>(port));
  bed.take_punted();
  EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
  EXPECT_EQ(bed.counts().count("fragments.held"), 0u);
  EXPECT_GT(bed.dropped(DropReason::FragmentTimeout), 0u) << "some came that far";
  EXPECT_EQ(bed.free_buffers(), buffers);
  std::string why;
  EXPECT_TRUE(bed.worker(0).conntrack().check_invariants(&why)) << why;
}

TEST(PipelineWorkers, RepliesReachTheWorkerThatOwnsTheSession) {
  Testbed bed(3);
  bed.learn(kVm1, vm_mac(1));
  bed.learn(kVm2, vm_mac(2));
  for (const PortIndex port : {kVm1, kVm2}) {
    const auto vm = static_cast<std::uint8_t>(port);
    const std::string address = "192.168.122.1" + std::to_string(vm);
    bed.exchange(port, Packet().from(vm_mac(vm), address, 40000).to(kRedMac, kServer, 80).udp().frame());
    const Bytes sent = only(bed.take(kUplink));
    bed.exchange(kUplink, reply_to(sent).udp().frame());
    EXPECT_EQ(to_string(destination_of(only(bed.take(port)))), address + ":40000");
  }
  EXPECT_EQ(bed.worker(1).conntrack().statistics().active, 1u);
  EXPECT_EQ(bed.worker(2).conntrack().statistics().active, 1u);
  EXPECT_EQ(bed.counts()["handoff"], 4u) << "each frame once: out to the uplink's owner, in to the session's";
  EXPECT_TRUE(bed.is_balanced());
}

TEST(PipelineWorkers, OtherProtocolsAndSwitchingCrossWorkersToo) {
  Testbed bed(2);
  bed.learn(kVm1, vm_mac(1));
  bed.learn(kVm2, vm_mac(2));
  bed.exchange(kVm1, Packet().from(vm_mac(1), kVm1Address).to(kRedMac, kServer).protocol(47).frame());
  EXPECT_EQ(bed.take(kUplink).size(), 1u);
  bed.exchange(kUplink, Packet().from(kRouterMac, kServer).to(kUplinkMac, kExternal).protocol(47).frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
  const Bytes frame =
      Packet().from(vm_mac(1), kVm1Address, 1).to(vm_mac(2), "192.168.122.11", 2).udp().frame();
  bed.exchange(kVm1, frame);
  EXPECT_THAT(bed.take(kVm2), ElementsAre(frame));
  EXPECT_TRUE(bed.is_balanced());
}

}  // namespace
}  // namespace vmnat::test
