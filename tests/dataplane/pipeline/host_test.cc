// SPDX-License-Identifier: Apache-2.0
// The host as a station of the network: what of VMs reaches it, and that whatever it sends reaches VMs. Port vm3
// stands for its TAP. Every case runs with one worker and with two, where vm2 is another worker's than the host.
#include "tests/support/fixture.h"
#include "tests/support/fragment_builder.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::ForwardingState;
using net::IcmpType;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char* kGateway = "192.168.122.1";
constexpr PortIndex kHost = kVm3;
constexpr std::uint8_t kSyn = net::TcpHeader::kSyn, kAck = net::TcpHeader::kAck;

// Between vm1 and the host.
Packet to_host(std::uint16_t from, std::uint16_t to) {
  return Packet().from(vm_mac(2), kVm2Address, from).to(kRedMac, kGateway, to);
}
Packet from_host(std::uint16_t from, std::uint16_t to) {
  return Packet().from(kRedMac, kGateway, from).to(vm_mac(2), kVm2Address, to);
}

class Host : public ::testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override {
    bed.learn(kVm1, vm_mac(1));
    bed.learn(kVm2, vm_mac(2));
    bed.change_state([](ForwardingState& state) {
      auto& red = state.networks[0];
      std::erase(red.ports, kHost);
      state.ports[kHost].is_host = true;
      red.host = {
          .port = kHost,
          .services = {{net::Protocol::Tcp, port(22), port(22)}, {net::Protocol::Udp, port(53), port(54)}}};
    });
  }
  void TearDown() override { EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts()); }
  static net::L4Port port(std::uint16_t number) { return net::L4Port::from_host(number); }

  // The host gets this frame as it is.
  void expect_passes(const Bytes& frame) {
    bed.exchange(kVm2, frame);
    EXPECT_THAT(bed.take(kHost), ElementsAre(frame)) << describe(frame);
    EXPECT_THAT(bed.take(kVm2), IsEmpty()) << describe(frame);
  }
  // The host does not, for this reason. Answers what the VM is told.
  std::vector<Bytes> expect_refused(const Bytes& frame, DropReason reason) {
    const std::uint64_t before = bed.dropped(reason);
    bed.exchange(kVm2, frame);
    EXPECT_THAT(bed.take(kHost), IsEmpty()) << describe(frame);
    EXPECT_EQ(bed.dropped(reason), before + 1) << describe(frame);
    return bed.take(kVm2);
  }
  // The VM gets it as it is.
  void send_from_host(const Bytes& frame) {
    bed.exchange(kHost, frame);
    EXPECT_THAT(bed.take(kVm2), ElementsAre(frame)) << describe(frame);
  }
  Testbed bed{GetParam()};
};

TEST_P(Host, ServicesThatAreOpenAreReachedAndNoOthers) {
  expect_passes(to_host(40000, 22).tcp(kSyn).frame());
  expect_passes(to_host(40000, 22).tcp(kAck).frame());
  expect_passes(to_host(40000, 53).udp().frame());
  expect_passes(to_host(40000, 54).udp().frame());
  expect_refused(to_host(40000, 55).udp().frame(), DropReason::HostService);
  expect_refused(to_host(40000, 23).tcp(kSyn).frame(), DropReason::HostService);
  expect_refused(to_host(40000, 53).tcp(kSyn).frame(), DropReason::HostService);
  expect_refused(to_host(40000, 22).udp().frame(), DropReason::HostService);
  expect_refused(to_host(0, 0).protocol(47).frame(), DropReason::HostService);
}

// As a gateway without a host answers, so that nothing is told of what the host has.
TEST_P(Host, ARefusedVmIsToldPortUnreachable) {
  const Bytes answer = only(expect_refused(to_host(40000, 23).tcp(kSyn).frame(), DropReason::HostService));
  EXPECT_EQ(icmp(answer).type, IcmpType::DestinationUnreachable);
  EXPECT_EQ(icmp(answer).code, 3);
  EXPECT_EQ(net::to_string(ip(answer).source), kGateway);
}

TEST_P(Host, AnswersToItsDatagramsPassWhileItAsks) {
  expect_refused(to_host(5000, 40000).udp().frame(), DropReason::HostService);
  send_from_host(from_host(40000, 5000).udp().frame());
  expect_passes(to_host(5000, 40000).udp().frame());
  expect_refused(to_host(5001, 40000).udp().frame(), DropReason::HostService);
  expect_refused(to_host(5000, 40001).udp().frame(), DropReason::HostService);
  expect_refused(to_host(5000, 40000).tcp(kAck).frame(), DropReason::HostService);
  bed.advance(std::chrono::seconds(100));
  expect_passes(to_host(5000, 40000).udp().frame());  // which keeps nothing open
  bed.advance(std::chrono::seconds(30));
  expect_refused(to_host(5000, 40000).udp().frame(), DropReason::HostService);
}

TEST_P(Host, OneVmHasNothingOfWhatTheHostBeganWithAnother) {
  send_from_host(from_host(40000, 5000).udp().frame());
  const Bytes of_vm1 = Packet().from(vm_mac(1), kVm1Address, 5000).to(kRedMac, kGateway, 40000).udp().frame();
  bed.exchange(kVm1, of_vm1);
  EXPECT_THAT(bed.take(kHost), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::HostService), 1u);
}

TEST_P(Host, SegmentsOfItsConnectionsPassAndOpenNone) {
  expect_refused(to_host(22, 40000).tcp(kAck).frame(), DropReason::HostService);
  send_from_host(from_host(40000, 22).tcp(kSyn).frame());
  expect_passes(to_host(22, 40000).tcp(kSyn | kAck).frame());
  expect_passes(to_host(22, 40000).tcp(kAck).frame());
  expect_passes(to_host(22, 40000).tcp(net::TcpHeader::kRst).frame());
  expect_refused(to_host(22, 40000).tcp(kSyn).frame(), DropReason::HostService);
  bed.advance(std::chrono::hours(2));
  expect_passes(to_host(22, 40000).tcp(kAck).frame());
}

TEST_P(Host, AConnectionThatIsOlderThanVmnatGoesOnOnceTheHostHasSpoken) {
  expect_refused(to_host(22, 40000).tcp(kAck).frame(), DropReason::HostService);
  send_from_host(from_host(40000, 22).tcp(kAck).frame());
  expect_passes(to_host(22, 40000).tcp(kAck).frame());
}

// Or VMs would fill the table with their own questions.
TEST_P(Host, WhatAnOpenServiceAnswersOpensNothing) {
  send_from_host(from_host(53, 5000).udp().frame());
  bed.change_state([](ForwardingState& state) { state.networks[0].host.services.clear(); });
  expect_refused(to_host(5000, 53).udp().frame(), DropReason::HostService);
}

TEST_P(Host, ConnectionsToAServiceGoOnWhenItClosesAndNoneIsOpened) {
  expect_passes(to_host(5000, 22).tcp(kSyn).frame());
  send_from_host(from_host(22, 5000).tcp(kSyn | kAck).frame());
  bed.change_state([](ForwardingState& state) { state.networks[0].host.services.clear(); });
  expect_passes(to_host(5000, 22).tcp(kAck).frame());
  expect_refused(to_host(5000, 22).tcp(kSyn).frame(), DropReason::HostService);
  expect_refused(to_host(5001, 22).tcp(kAck).frame(), DropReason::HostService);
}

TEST_P(Host, ItsPingsAreAnsweredByVmsAndItsAddressIsAnsweredByVmnat) {
  const Bytes reply = to_host(0, 0).icmp_echo(IcmpType::EchoReply, 9).frame();
  expect_refused(reply, DropReason::HostService);
  send_from_host(from_host(0, 0).icmp_echo(IcmpType::EchoRequest, 9).frame());
  expect_passes(reply);
  expect_refused(to_host(0, 0).icmp_echo(IcmpType::EchoReply, 10).frame(), DropReason::HostService);
  bed.exchange(kVm2, to_host(0, 0).icmp_echo(IcmpType::EchoRequest, 9).frame());
  EXPECT_THAT(bed.take(kHost), IsEmpty());
  EXPECT_EQ(icmp(only(bed.take(kVm2))).type, IcmpType::EchoReply);
}

TEST_P(Host, ErrorsReachItAboutItsOwnPacketsAlone) {
  const auto error_about = [](const Bytes& packet) {
    return to_host(0, 0).icmp_error(IcmpType::DestinationUnreachable, 3, quoted(packet, 8)).frame();
  };
  const Bytes question = from_host(40000, 5000).udp().frame();
  expect_refused(error_about(question), DropReason::IcmpError);
  send_from_host(question);
  expect_passes(error_about(question));
  expect_passes(error_about(from_host(53, 5000).udp().frame()));  // of a service that is open
  expect_refused(error_about(from_host(40001, 5000).udp().frame()), DropReason::IcmpError);
  const Bytes ping = from_host(0, 0).icmp_echo(IcmpType::EchoRequest, 9).frame();
  send_from_host(ping);
  expect_passes(error_about(ping));
}

TEST_P(Host, DatagramsInFragmentsArePassedOrRefusedAsAWhole) {
  const auto pieces = [](std::uint16_t to) {
    return cut(to_host(40000, to).udp().payload(3000).frame(), 1000);
  };
  for (const Bytes& fragment : pieces(53)) bed.exchange(kVm2, fragment);
  const auto passed = bed.take(kHost);
  EXPECT_THAT(passed, SizeIs(4));
  EXPECT_TRUE(joined(passed).has_value());
  for (const Bytes& fragment : pieces(55)) bed.exchange(kVm2, fragment);
  EXPECT_THAT(bed.take(kHost), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::HostService), 4u);
}

TEST_P(Host, AnswersInFragmentsToAQuestionInFragmentsPass) {
  for (const Bytes& fragment : cut(from_host(40000, 5000).udp().payload(3000).frame(), 1000))
    send_from_host(fragment);
  for (const Bytes& fragment : cut(to_host(5000, 40000).udp().payload(3000).frame(), 1000))
    expect_passes(fragment);
}

TEST_P(Host, VmnatAnswersArpForTheGatewayAndTheHostHearsAnswersToItsOwn) {
  bed.exchange(kVm2,
               arp(net::ArpOperation::Request, vm_mac(2), kVm2Address, {}, kGateway, net::kBroadcastMac));
  EXPECT_THAT(bed.take(kVm2), SizeIs(1));
  EXPECT_THAT(bed.take(kHost), IsEmpty());
  const Bytes question =
      arp(net::ArpOperation::Request, kRedMac, kGateway, {}, kVm2Address, net::kBroadcastMac);
  bed.exchange(kHost, question);
  for (const PortIndex vm : {kVm1, kVm2}) EXPECT_THAT(bed.take(vm), ElementsAre(question));
  expect_passes(arp(net::ArpOperation::Reply, vm_mac(2), kVm2Address, kRedMac, kGateway, kRedMac));
}

TEST_P(Host, AnArpReplyThatControlAwaitsReachesBoth) {
  bed.change_state([](ForwardingState& state) { state.networks[0].awaits_arp = true; });
  const Bytes reply = arp(net::ArpOperation::Reply, vm_mac(2), kVm2Address, kRedMac, kGateway, kRedMac);
  expect_passes(reply);
  EXPECT_THAT(bed.take_punted(), SizeIs(1));
}

TEST_P(Host, OfGroupsItHearsArpAndItsServices) {
  const auto to_group = [](std::uint16_t to) {
    return Packet().from(vm_mac(2), kVm2Address, 5000).to(net::kBroadcastMac, "192.168.122.255", to).udp();
  };
  const Bytes announcement =
      arp(net::ArpOperation::Request, vm_mac(2), kVm2Address, {}, kVm2Address, net::kBroadcastMac);
  for (const Bytes& heard : {to_group(53).frame(), announcement}) {
    bed.exchange(kVm2, heard);
    EXPECT_THAT(bed.take(kHost), ElementsAre(heard));
    EXPECT_THAT(bed.take(kVm1), ElementsAre(heard));
  }
  bed.exchange(kVm2, to_group(55).frame());
  EXPECT_THAT(bed.take(kHost), IsEmpty());
  EXPECT_THAT(bed.take(kVm1), SizeIs(1));
}

TEST_P(Host, IsolatedPortsReachItAndItReachesThem) {
  bed.isolate(0);
  send_from_host(from_host(40000, 22).tcp(kSyn).frame());
  expect_passes(to_host(22, 40000).tcp(kSyn | kAck).frame());
  expect_passes(arp(net::ArpOperation::Request, vm_mac(2), kVm2Address, {}, kVm2Address, net::kBroadcastMac));
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
}

TEST_P(Host, SendsFromItsOwnAddressesAloneAndIpv4Alone) {
  const struct {
    Bytes frame;
    DropReason reason;
  } rows[] = {
      {Packet().from(vm_mac(9), kGateway, 1).to(vm_mac(2), kVm2Address, 2).udp().frame(),
       DropReason::SpoofedMac},
      {Packet().from(kRedMac, "10.0.0.5", 1).to(vm_mac(2), kVm2Address, 2).udp().frame(),
       DropReason::SpoofedAddress},
      {arp(net::ArpOperation::Reply, kRedMac, "10.0.0.5", vm_mac(2), kVm2Address, vm_mac(2)),
       DropReason::SpoofedAddress},
      {Packet().from(kRedMac, kGateway, 1).to(kRedMac, kServer, 2).udp().frame(), DropReason::SamePort},
      {from_host(1, 2).udp().frame(
           [](Bytes& frame) { frame[12] = std::byte{0x86}, frame[13] = std::byte{0xdd}; }),
       DropReason::EtherType},
  };
  for (const auto& [frame, reason] : rows) {
    bed.exchange(kHost, frame);
    EXPECT_EQ(bed.dropped(reason), 1u + (&reason == &rows[2].reason ? 1 : 0)) << describe(frame);
  }
  for (const PortIndex port : {kUplink, kVm1, kVm2}) EXPECT_THAT(bed.take(port), IsEmpty());
}

TEST_P(Host, NoVmSendsFromItsAddresses) {
  const Bytes frames[] = {Packet().from(kRedMac, kVm2Address, 1).to(vm_mac(1), kVm1Address, 2).udp().frame(),
                          Packet().from(vm_mac(2), kGateway, 1).to(vm_mac(1), kVm1Address, 2).udp().frame()};
  bed.change_state([](ForwardingState& state) {
    state.networks[0].mac_owners = dataplane::WordTable<PortIndex>({{kRedMac.as_word(), kUplink}});
    state.networks[0].address_owners =
        dataplane::WordTable<PortIndex>({{net::parse_ipv4(kGateway)->raw(), kUplink}});
  });
  for (const Bytes& frame : frames) bed.exchange(kVm2, frame);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
  EXPECT_EQ(bed.dropped(DropReason::SpoofedMac) + bed.dropped(DropReason::SpoofedAddress), 2u);
}

TEST_P(Host, OfOtherAddressesOfItsNothingReachesIt) {
  for (const char* address : {"127.0.0.1", "192.168.122.255", "10.0.0.5"})
    bed.exchange(kVm2,
                 Packet().from(vm_mac(2), kVm2Address, 40000).to(kRedMac, address, 22).tcp(kSyn).frame());
  EXPECT_THAT(bed.take(kHost), IsEmpty());
}

TEST_P(Host, SuperFramesPassInBothDirections) {
  const Bytes sent = to_host(40000, 22).tcp(kAck).payload(6000).frame();
  bed.put_unfinished(kVm2, sent, 1400);
  bed.run();
  EXPECT_THAT(bed.take(kHost), SizeIs(5)) << "the ring devices of the test take no super-frames";
  bed.put_unfinished(kHost, from_host(22, 40000).tcp(kAck).payload(6000).frame(), 1400);
  bed.run();
  EXPECT_THAT(bed.take(kVm2), SizeIs(5));
}

INSTANTIATE_TEST_SUITE_P(Workers, Host, ::testing::Values(1u, 2u));

}  // namespace
}  // namespace vmnat::test
