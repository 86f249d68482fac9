// SPDX-License-Identifier: Apache-2.0
// From one VM to another by an external address: to a forward and to a mapping, within a network and between
// two, on one worker and on several. vm1 is 192.168.122.10, vm2 .11, vm4 192.168.5.10.

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

struct Sender {
  PortIndex port;
  net::MacAddr mac;
  const char* address;
  net::MacAddr gateway;

  [[nodiscard]] Packet to(const char* remote, std::uint16_t remote_port, std::uint16_t own_port) const {
    return Packet().from(mac, address, own_port).to(gateway, remote, remote_port);
  }
};
constexpr Sender kOne{kVm1, vm_mac(1), kVm1Address, kRedMac};
constexpr Sender kTwo{kVm2, vm_mac(2), "192.168.122.11", kRedMac};
constexpr Sender kFour{kVm4, vm_mac(4), "192.168.5.10", kBlueMac};

// 203.0.113.2:8080 tcp leads to vm1's port 80, 5353 udp to its port 53, and 9090 udp to vm4's port 90.
void forward_to_vm1(Testbed& bed) {
  bed.learn(kVm1, vm_mac(1));
  bed.learn(kVm2, vm_mac(2));
  bed.learn(kVm4, vm_mac(4));
  bed.change_state([](ForwardingState& state) {
    const net::Endpoint web = endpoint(kVm1Address, 80), game = endpoint(kFour.address, 90);
    set_forwards(state, {{net::Protocol::Tcp, 8080, web},
                         {net::Protocol::Udp, 5353, endpoint(kVm1Address, 53)},
                         {net::Protocol::Udp, 9090, game, 1}});
    state.networks[0].hosts = WordTable<InsideHost>({{web.address.raw(), {.mac = vm_mac(1), .port = kVm1}}});
    state.networks[1].hosts = WordTable<InsideHost>({{game.address.raw(), {.mac = vm_mac(4), .port = kVm4}}});
  });
}

// The whole conversation; both sides see nothing but external addresses of each other.
void talk_to_forward(Testbed& bed, const Sender& sender) {
  bed.exchange(sender.port, sender.to(kExternal, 8080, 5000).tcp(TcpHeader::kSyn).frame());
  const Bytes received = only(bed.take(kVm1));
  EXPECT_EQ(to_string(source_of(received)), "203.0.113.2:5000") << "RFC 4787 REQ-9: the external endpoint";
  EXPECT_EQ(to_string(destination_of(received)), "192.168.122.10:80");
  EXPECT_EQ(net::view<net::EthernetHeader>(received)->destination, vm_mac(1));
  EXPECT_EQ(net::view<net::EthernetHeader>(received)->source, kRedMac);
  EXPECT_TRUE(has_good_checksums(received));
  bed.exchange(kVm1, kOne.to(kExternal, 5000, 80).tcp(TcpHeader::kSyn | TcpHeader::kAck).frame());
  const Bytes answer = only(bed.take(sender.port));
  EXPECT_EQ(to_string(source_of(answer)), "203.0.113.2:8080");
  EXPECT_EQ(to_string(destination_of(answer)), std::string(sender.address) + ":5000");
  EXPECT_EQ(net::view<net::EthernetHeader>(answer)->destination, sender.mac);
  EXPECT_TRUE(has_good_checksums(answer));
  bed.exchange(sender.port, sender.to(kExternal, 8080, 5000).tcp(TcpHeader::kAck).frame());
  EXPECT_EQ(bed.take(kVm1).size(), 1u);
  EXPECT_THAT(bed.take(kUplink), IsEmpty()) << "the uplink sees nothing of it";
}

void expect_sound(const Testbed& bed) {
  EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
  std::string why;
  EXPECT_TRUE(bed.worker(0).conntrack().check_invariants(&why)) << why;
}

TEST(Hairpin, ReachesAForwardFromTheSameAndFromAnotherNetworkOnAnyNumberOfWorkers) {
  for (const unsigned workers : {1u, 2u, 3u})
    for (const Sender& sender : {kTwo, kFour}) {
      SCOPED_TRACE(std::to_string(workers) + " workers, from " + sender.address);
      Testbed bed(workers);
      forward_to_vm1(bed);
      talk_to_forward(bed, sender);
      expect_sound(bed);
    }
}

TEST(Hairpin, ReachesTheSendersOwnForward) {
  Testbed bed;
  forward_to_vm1(bed);
  bed.exchange(kVm1, kOne.to(kExternal, 8080, 5000).tcp(TcpHeader::kSyn).frame());
  const Bytes received = only(bed.take(kVm1));
  EXPECT_EQ(to_string(source_of(received)), "203.0.113.2:5000");
  EXPECT_EQ(to_string(destination_of(received)), "192.168.122.10:80");
  expect_sound(bed);
}

// Both ends of the conversation are forwards, and either speaks first (RFC 4787 REQ-1).
TEST(Hairpin, BetweenTwoForwardsIsSeenFromTheirExternalEndpoints) {
  for (const unsigned workers : {1u, 2u, 3u})
    for (const bool vm1_speaks_first : {true, false}) {
      Testbed bed(workers);
      forward_to_vm1(bed);
      const auto from_vm1 = [&] {
        bed.exchange(kVm1, kOne.to(kExternal, 9090, 53).udp().frame());
        const Bytes received = only(bed.take(kVm4));
        EXPECT_EQ(source_of(received), endpoint(kExternal, 5353));
        EXPECT_EQ(destination_of(received), endpoint(kFour.address, 90));
      };
      if (vm1_speaks_first) from_vm1();
      bed.exchange(kVm4, kFour.to(kExternal, 5353, 90).udp().frame());
      const Bytes received = only(bed.take(kVm1));
      EXPECT_EQ(source_of(received), endpoint(kExternal, 9090));
      EXPECT_EQ(destination_of(received), endpoint(kVm1Address, 53));
      from_vm1();
      expect_sound(bed);
    }
}

TEST(Hairpin, OfAForwardsEndpointToItsOwnForwardComesBack) {
  for (const unsigned workers : {1u, 3u}) {
    Testbed bed(workers);
    forward_to_vm1(bed);
    for (int i = 0; i < 2; ++i) {
      bed.exchange(kVm1, kOne.to(kExternal, 5353, 53).udp().frame());
      const Bytes received = only(bed.take(kVm1));
      EXPECT_EQ(source_of(received), endpoint(kExternal, 5353));
      EXPECT_EQ(destination_of(received), endpoint(kVm1Address, 53));
    }
    expect_sound(bed);
  }
}

// vm2 and `other` learn each other's external endpoint, as peers do from a third party.
void meet(Testbed& bed, const Sender& other, bool has_punched) {
  const auto external_of = [&](const Sender& vm, std::uint16_t port) {
    bed.exchange(vm.port, vm.to(kServer, 80, port).udp().frame());
    return source_of(only(bed.take(kUplink))).port.host();
  };
  const std::uint16_t two = external_of(kTwo, 6002), peer = external_of(other, 6004);
  if (has_punched) bed.exchange(other.port, other.to(kExternal, two, 6004).udp().frame());
  bed.exchange(kTwo.port, kTwo.to(kExternal, peer, 6002).udp().frame());
  const std::vector<Bytes> received = bed.take(other.port);
  ASSERT_EQ(received.size(), has_punched ? 1u : 0u);
  if (!has_punched) return;
  EXPECT_EQ(to_string(source_of(received[0])), "203.0.113.2:" + std::to_string(two));
  EXPECT_EQ(to_string(destination_of(received[0])), std::string(other.address) + ":6004");
  EXPECT_TRUE(has_good_checksums(received[0]));
}

TEST(Hairpin, ReachesAMappingThatLetsTheSenderInAndNoOther) {
  for (const unsigned workers : {1u, 3u})
    for (const Sender& other : {kOne, kFour}) {
      SCOPED_TRACE(std::to_string(workers) + " workers, to " + other.address);
      Testbed punched(workers), closed(workers);
      for (Testbed* bed : {&punched, &closed}) forward_to_vm1(*bed);
      meet(punched, other, true);
      meet(closed, other, false);
      EXPECT_EQ(punched.dropped(DropReason::Filtered), 1u) << "the first of the two finds nothing open";
      EXPECT_EQ(closed.dropped(DropReason::Filtered), 1u);
      expect_sound(punched);
      expect_sound(closed);
    }
}

TEST(Hairpin, PassesErrorsTranslatedTwice) {
  Testbed bed;
  forward_to_vm1(bed);
  bed.exchange(kVm2, kTwo.to(kExternal, 8080, 5000).tcp(TcpHeader::kSyn).frame());
  const Bytes received = only(bed.take(kVm1));
  bed.exchange(
      kVm1,
      kOne.to(kExternal, 0, 0).icmp_error(IcmpType::DestinationUnreachable, 3, quoted(received, 8)).frame());
  const Bytes error = only(bed.take(kVm2));  // RFC 5508 REQ-7
  EXPECT_EQ(to_string(net::view<net::Ipv4Header>(error, 14)->source), kExternal);
  EXPECT_TRUE(has_good_checksums(error));
  EXPECT_EQ(quote_in(error), quoted(kTwo.to(kExternal, 8080, 5000).tcp(TcpHeader::kSyn).ttl(62).frame(), 8))
      << "its own packet, two hops on";
  expect_sound(bed);
}

TEST(Hairpin, IsTwoHops) {
  Testbed bed;
  forward_to_vm1(bed);
  bed.exchange(kVm2, kTwo.to(kExternal, 8080, 5000).tcp(TcpHeader::kSyn).ttl(3).frame());
  EXPECT_EQ(net::view<net::Ipv4Header>(only(bed.take(kVm1)), 14)->ttl, 1);
  bed.exchange(kVm2, kTwo.to(kExternal, 8080, 5000).tcp(TcpHeader::kSyn).ttl(2).frame());
  EXPECT_EQ(bed.dropped(DropReason::TtlExpired), 1u);
  EXPECT_THAT(bed.take(kVm1), IsEmpty());
  expect_sound(bed);
}

// Forwards to external addresses, which control never makes: what has turned round comes in and goes out no
// more.
TEST(Hairpin, TurnsNoFrameRoundTwice) {
  for (const unsigned workers : {1u, 3u}) {
    Testbed bed(workers);
    bed.learn(kVm1, vm_mac(1));
    bed.change_state([](ForwardingState& state) {
      const net::Endpoint there = endpoint(kExternal, 7002), back = endpoint(kExternal, 7001);
      set_forwards(state, {{net::Protocol::Udp, 7001, there}, {net::Protocol::Udp, 7002, back}});
      state.networks[0].hosts =
          WordTable<InsideHost>({{there.address.raw(), {.mac = vm_mac(1), .port = kVm1}}});
    });
    bed.exchange(kVm1, kOne.to(kExternal, 7001, 5000).udp().ttl(255).frame());
    const Bytes received = only(bed.take(kVm1));
    EXPECT_EQ(destination_of(received), endpoint(kExternal, 7002));
    EXPECT_EQ(ip(received).ttl, 253);
    EXPECT_THAT(bed.take(kUplink), IsEmpty());
    expect_sound(bed);
  }
}

TEST(Hairpin, KeepsTheOrderOfAFlow) {
  for (const unsigned workers : {1u, 3u}) {
    Testbed bed(workers);
    forward_to_vm1(bed);
    for (std::uint16_t number = 0; number < 100; ++number)
      bed.put(kVm2, kTwo.to(kExternal, 5353, 5000).udp().identification(number).frame());
    bed.run();
    const std::vector<Bytes> received = bed.take(kVm1);
    ASSERT_EQ(received.size(), 100u);
    for (std::uint16_t number = 0; number < 100; ++number)
      EXPECT_EQ(ip(received[number]).identification.host(), number);
    expect_sound(bed);
  }
}

// Four datagrams of 64 KB are 5420 pieces for the uplink's smallest MTU.
TEST(Hairpin, OfMorePiecesThanMayWaitDropsTheRest) {
  Testbed bed;
  forward_to_vm1(bed);
  bed.change_state([](ForwardingState& state) { state.uplinks[0].mtu = 68; });
  const std::size_t buffers = bed.free_buffers();
  const auto pieces = 4 * ((65000 + 8 + 47) / 48);
  for (int i = 0; i < 4; ++i) bed.put(kVm2, kTwo.to(kExternal, 5353, 5000).udp().payload(65000).frame());
  bed.run();
  EXPECT_EQ(bed.dropped(DropReason::HandoffFull), pieces - dataplane::ErrandQueue::kCapacity);
  EXPECT_THAT(bed.take(kVm1), ::testing::Not(IsEmpty()));
  EXPECT_EQ(bed.free_buffers(), buffers);
  expect_sound(bed);
}

}  // namespace
}  // namespace vmnat::test
