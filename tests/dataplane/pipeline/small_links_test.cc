// SPDX-License-Identifier: Apache-2.0
// Uplinks whose network has two addresses or one (RFC 3021): none of them is a broadcast address, so that the
// router is a host like others, and the own address one that hairpins turn round at.

#include "tests/support/fixture.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::Forward;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::NextHop;
using dataplane::WordTable;
using net::IcmpType;
using net::TcpHeader;
using net::to_string;

struct Link {
  const char* uplink;
  const char* router;
};
constexpr Link kLinks[] = {{"203.0.113.2/24", "203.0.113.1"},   // as ever
                           {"203.0.113.2/31", "203.0.113.3"},   // the lower of two
                           {"203.0.113.3/31", "203.0.113.2"},   // the upper
                           {"203.0.113.2/32", "203.0.113.1"}};  // alone

class SmallLinks : public ::testing::TestWithParam<Link> {
 protected:
  SmallLinks() : bed({.uplink = prefix(), .router = net::parse_ipv4(GetParam().router).value()}) {
    bed.learn(kVm1, vm_mac(1));
    bed.learn(kVm2, vm_mac(2));
    bed.change_state([&](ForwardingState& state) {  // 8080 tcp leads to vm1's port 80
      const net::Endpoint external = endpoint(own().c_str(), 8080), internal = endpoint(kVm1Address, 80);
      state.forwards = WordTable<Forward>(
          {{ForwardingState::forward_word(external, net::Protocol::Tcp), {.to = internal}}});
      state.networks[0].hosts =
          WordTable<InsideHost>({{internal.address.raw(), {.mac = vm_mac(1), .port = kVm1}}});
      state.uplinks[0].neighbors =
          WordTable<NextHop>({{net::parse_ipv4(GetParam().router)->raw(), {.mac = kRouterMac}}});
    });
  }
  void TearDown() override { EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts()); }

  static net::Ipv4Prefix prefix() { return net::parse_ipv4_prefix(GetParam().uplink).value(); }
  static std::string own() { return to_string(prefix().address); }
  static Packet from_vm(std::uint8_t number, const std::string& remote, std::uint16_t remote_port) {
    const std::string address = "192.168.122." + std::to_string(9 + number);
    return Packet().from(vm_mac(number), address, 5000).to(kRedMac, remote, remote_port);
  }
  static Packet from_router() { return Packet().from(kRouterMac, GetParam().router, 53); }
  Testbed bed;
};

TEST_P(SmallLinks, TheRouterIsReachedFromAVmAndItsAnswerComesBack) {
  bed.exchange(kVm1, from_vm(1, GetParam().router, 53).udp().frame());
  const Bytes question = only(bed.take(kUplink));
  EXPECT_EQ(to_string(destination_of(question)), std::string(GetParam().router) + ":53");
  EXPECT_EQ(ethernet(question).destination, kRouterMac);
  bed.exchange(kUplink, from_router().to(kUplinkMac, own(), source_of(question).port.host()).udp().frame());
  EXPECT_EQ(to_string(destination_of(only(bed.take(kVm1)))), "192.168.122.10:5000");
}

TEST_P(SmallLinks, TheRouterReachesAForwardAndIsToldWhatIsRefused) {
  bed.exchange(kUplink, from_router().to(kUplinkMac, own(), 8080).tcp(TcpHeader::kSyn).frame());
  EXPECT_EQ(to_string(destination_of(only(bed.take(kVm1)))), "192.168.122.10:80");
  bed.exchange(kUplink, from_router().to(kUplinkMac, own(), 4000).udp().frame());
  EXPECT_EQ(icmp(only(bed.take(kUplink))).type, IcmpType::DestinationUnreachable);
}

TEST_P(SmallLinks, AVmReachesANeighboursForwardByTheOwnAddress) {
  bed.exchange(kVm2, from_vm(2, own(), 8080).tcp(TcpHeader::kSyn).frame());
  const Bytes received = only(bed.take(kVm1));
  EXPECT_EQ(to_string(source_of(received)), own() + ":5000");
  EXPECT_EQ(to_string(destination_of(received)), "192.168.122.10:80");
  EXPECT_EQ(bed.take(kUplink).size(), 0u);
}

TEST_P(SmallLinks, TheOwnAddressAnswersAVmsPing) {
  bed.exchange(kVm1, from_vm(1, own(), 0).icmp_echo(IcmpType::EchoRequest, 7).frame());
  const Bytes answer = only(bed.take(kVm1));
  EXPECT_EQ(icmp(answer).type, IcmpType::EchoReply);
  EXPECT_EQ(to_string(ip(answer).source), own());
}

TEST_P(SmallLinks, WhatIsABroadcastAddressIsNotTranslated) {
  for (const char* edge : {"203.0.113.0", "203.0.113.255"})
    bed.exchange(kVm1, from_vm(1, edge, 53).udp().frame());
  EXPECT_EQ(bed.dropped(DropReason::DestinationMulticast), prefix().has_edges() ? 2u : 0u);
}

INSTANTIATE_TEST_SUITE_P(Rfc3021, SmallLinks, ::testing::ValuesIn(kLinks), [](const auto& link) {
  std::string name = link.param.uplink;
  for (char& c : name)
    if (c == '.' || c == '/') c = '_';
  return name;
});

}  // namespace
}  // namespace vmnat::test
