// SPDX-License-Identifier: Apache-2.0
// Fragments through the pipeline: put together again behind it, a datagram is what it would have been whole.
#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

#include "tests/support/fragment_builder.h"
#include "tests/support/testbed.h"

namespace vmnat::test {
namespace {

using dataplane::DropReason;
using dataplane::Forward;
using dataplane::ForwardingState;
using dataplane::InsideHost;
using dataplane::WordTable;
using net::IcmpType;
using net::TcpHeader;
using net::to_string;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr std::uint16_t kMore = 0x2000;

Packet outbound() {
  return Packet().from(vm_mac(1), kVm1Address, 40000).to(kRedMac, kServer, 80).payload(3000);
}
Packet from_vm2() {
  return Packet().from(vm_mac(2), kVm2Address, 40000).to(kRedMac, kServer, 80).payload(3000);
}
Packet inbound(const net::Endpoint& external) {
  return Packet()
      .from(kRouterMac, kServer, 80)
      .to(kUplinkMac, to_string(external.address), external.port.host())
      .payload(3000);
}
Bytes payload_of(const Bytes& frame, std::size_t headers) {
  return {frame.begin() + static_cast<std::ptrdiff_t>(headers), frame.end()};
}

enum class Order { Forwards, Backwards, LastFirst };
std::vector<Bytes> ordered(std::vector<Bytes> fragments, Order order) {
  if (order == Order::Backwards) std::ranges::reverse(fragments);
  if (order == Order::LastFirst) std::ranges::rotate(fragments, fragments.end() - 1);
  return fragments;
}

class Fragments : public ::testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override {
    bed.learn(kVm1, vm_mac(1));
    bed.learn(kVm2, vm_mac(2));
  }
  void TearDown() override {
    EXPECT_TRUE(bed.is_balanced()) << ::testing::PrintToString(bed.counts());
    std::string why;
    EXPECT_TRUE(bed.worker(0).conntrack().check_invariants(&why)) << why;
  }
  void put_all(PortIndex port, const std::vector<Bytes>& frames) {
    for (const Bytes& frame : frames) bed.put(port, frame);
    bed.run();
  }
  // Sends the fragments; the datagram that the other side makes of what arrives.
  std::optional<Bytes> exchange(PortIndex from, const std::vector<Bytes>& fragments, PortIndex to) {
    put_all(from, fragments);
    return joined(bed.take(to));
  }
  Testbed bed{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(, Fragments, ::testing::Values(1u, 2u, 3u),
                         [](const auto& tested) { return std::to_string(tested.param) + "Workers"; });

TEST_P(Fragments, OfUdpAndTcpAreTranslatedBothWaysInAnyOrder) {
  for (const bool is_tcp : {false, true})
    for (const Order order : {Order::Forwards, Order::Backwards, Order::LastFirst}) {
      SCOPED_TRACE(std::string(is_tcp ? "tcp" : "udp") + ", order " +
                   std::to_string(static_cast<int>(order)));
      const auto made = [&](Packet packet, std::uint8_t flags) {
        return is_tcp ? packet.tcp(flags).frame() : packet.udp().frame();
      };
      const Bytes whole = made(outbound(), TcpHeader::kSyn);
      const auto sent = exchange(kVm1, ordered(cut(whole, 1480), order), kUplink);
      ASSERT_TRUE(sent);
      EXPECT_EQ(to_string(source_of(*sent)), "203.0.113.2:40000");
      EXPECT_EQ(to_string(destination_of(*sent)), "198.51.100.7:80");
      EXPECT_TRUE(has_good_checksums(*sent));
      EXPECT_EQ(payload_of(*sent, is_tcp ? 54 : 42), payload_of(whole, is_tcp ? 54 : 42));
      EXPECT_EQ(net::view<net::Ipv4Header>(*sent, 14)->ttl, 63);

      const Bytes answer = made(inbound(source_of(*sent)), TcpHeader::kSyn | TcpHeader::kAck);
      const auto received = exchange(kUplink, ordered(cut(answer, 512), order), kVm1);
      ASSERT_TRUE(received);
      EXPECT_EQ(to_string(destination_of(*received)), "192.168.122.10:40000");
      EXPECT_TRUE(has_good_checksums(*received));
      EXPECT_EQ(payload_of(*received, 54), payload_of(answer, 54));
      EXPECT_EQ(id_of(*received), id_of(answer)) << "the remote's own";
    }
}

TEST_P(Fragments, OfPingAreTranslatedBothWays) {
  for (const Order order : {Order::Forwards, Order::Backwards}) {
    const Bytes ping = outbound().icmp_echo(IcmpType::EchoRequest, 7).frame();
    const auto sent = exchange(kVm1, ordered(cut(ping, 1480), order), kUplink);
    ASSERT_TRUE(sent);
    EXPECT_EQ(to_string(source_of(*sent).address), kExternal);
    EXPECT_TRUE(has_good_checksums(*sent));
    const Bytes reply =
        inbound(source_of(*sent)).icmp_echo(IcmpType::EchoReply, source_of(*sent).port.host()).frame();
    const auto received = exchange(kUplink, ordered(cut(reply, 1480), order), kVm1);
    ASSERT_TRUE(received);
    EXPECT_EQ(source_of(*received).port.host(), 7);
    EXPECT_EQ(to_string(destination_of(*received).address), kVm1Address);
    EXPECT_TRUE(has_good_checksums(*received));
  }
}

TEST_P(Fragments, CountAsFramesAndLeaveNothingBehind) {
  const std::size_t buffers = bed.free_buffers();
  put_all(kVm1, ordered(cut(outbound().udp().frame(), 1480), Order::Backwards));
  EXPECT_THAT(bed.counts(), ::testing::IsSupersetOf({Pair("vm1.rx", 3), Pair("uplink.tx", 3)}));
  EXPECT_THAT(bed.take(kUplink), SizeIs(3));
  EXPECT_EQ(bed.free_buffers(), buffers);
  EXPECT_EQ(bed.counts().count("fragments.held"), 0u);
}

TEST_P(Fragments, OfTwoVmsWithOneIdentificationAreToldApartOnTheWayAndByTheRemote) {
  const std::vector<Bytes> one = cut(outbound().udp().frame(), 1480),
                           two = cut(from_vm2().udp().frame(), 1480);
  for (unsigned i = 0; i < one.size(); ++i) {
    bed.put(kVm1, one[one.size() - 1 - i]);
    bed.put(kVm2, two[i]);
    bed.run();
  }
  std::map<std::uint16_t, std::vector<Bytes>> by_id;
  for (Bytes& frame : bed.take(kUplink)) by_id[id_of(frame)].push_back(std::move(frame));
  ASSERT_THAT(by_id, SizeIs(2)) << "RFC 6864: one external address, two senders";
  EXPECT_EQ(by_id.count(0), 0u);
  std::vector<std::uint16_t> ports;
  for (const auto& [id, fragments] : by_id) {
    const auto whole = joined(fragments);
    ASSERT_TRUE(whole);
    EXPECT_TRUE(has_good_checksums(*whole));
    ports.push_back(source_of(*whole).port.host());
  }
  EXPECT_NE(ports[0], ports[1]);
}

TEST_P(Fragments, OfUdpWithoutChecksumStayWithoutOne) {
  const auto sent = exchange(kVm1, cut(outbound().udp().without_udp_checksum().frame(), 1480), kUplink);
  ASSERT_TRUE(sent);
  EXPECT_EQ(net::view<net::UdpHeader>(*sent, 34)->checksum.raw(), 0);
}

TEST_P(Fragments, OfProtocolsWithoutPortsPassByAddressAlone) {
  const Bytes whole = outbound().protocol(47).frame();
  const auto sent = exchange(kVm1, ordered(cut(whole, 1480), Order::Backwards), kUplink);
  ASSERT_TRUE(sent);
  EXPECT_EQ(to_string(net::view<net::Ipv4Header>(*sent, 14)->source), kExternal);
  EXPECT_EQ(payload_of(*sent, 34), payload_of(whole, 34));
}

TEST_P(Fragments, BetweenTwoVmsAreSwitchedAsTheyAre) {
  for (const Bytes& fragment :
       cut(Packet().from(vm_mac(1), kVm1Address, 1).to(vm_mac(2), kVm2Address, 2).payload(99).udp().frame(),
           8)) {
    bed.exchange(kVm1, fragment);
    EXPECT_THAT(bed.take(kVm2), ::testing::ElementsAre(fragment));
  }
}

TEST_P(Fragments, OfAPingOfTheGatewayAndOfTheUplinkAreAnsweredOneByOne) {
  for (const Order order : {Order::Forwards, Order::Backwards}) {
    const auto ping = [&](Packet packet) {
      return ordered(cut(packet.payload(3000).icmp_echo(IcmpType::EchoRequest, 9).frame(), 1480), order);
    };
    const auto inside =
        exchange(kVm1, ping(Packet().from(vm_mac(1), kVm1Address).to(kRedMac, "192.168.122.1")), kVm1);
    ASSERT_TRUE(inside);
    EXPECT_EQ(to_string(source_of(*inside)), "192.168.122.1:9");
    EXPECT_TRUE(has_good_checksums(*inside));
    const auto outside =
        exchange(kUplink, ping(Packet().from(kRouterMac, kServer).to(kUplinkMac, kExternal)), kUplink);
    ASSERT_TRUE(outside);
    EXPECT_EQ(to_string(source_of(*outside).address), kExternal);
    EXPECT_TRUE(has_good_checksums(*outside));
  }
}

TEST_P(Fragments, ThatHaveNoFirstWaitTwoSecondsAndNeverLeave) {
  const std::vector<Bytes> fragments = cut(outbound().udp().frame(), 1480);
  put_all(kVm1, {fragments[1], fragments[2]});
  EXPECT_EQ(bed.counts()["fragments.held"], 2u);
  EXPECT_TRUE(bed.is_balanced()) << "what waits is accounted for";
  bed.advance(std::chrono::seconds(1));
  EXPECT_EQ(bed.dropped(DropReason::FragmentTimeout), 0u);
  bed.advance(std::chrono::seconds(2));
  EXPECT_EQ(bed.dropped(DropReason::FragmentTimeout), 2u);
  bed.exchange(kVm1, fragments[0]);
  EXPECT_THAT(bed.take(kUplink), SizeIs(1)) << "the first alone";
}

TEST_P(Fragments, OfADatagramThatIsRefusedAreRefusedEachForAReason) {
  struct Case {
    const char* says;
    Bytes whole;
    DropReason first, later;
    unsigned told;
  };
  const auto to = [](const char* remote) { return outbound().to(kRedMac, remote, 80).udp().frame(); };
  const Case cases[] = {
      {"to another network", to("192.168.5.10"), DropReason::BetweenNetworks, DropReason::BetweenNetworks, 1},
      {"to a group", to("224.0.0.5"), DropReason::DestinationMulticast, DropReason::DestinationMulticast, 0},
      {"to the gateway", to("192.168.122.1"), DropReason::GatewayService, DropReason::GatewayService, 1},
      {"in mid-stream", outbound().tcp(TcpHeader::kAck).frame(), DropReason::TcpNotSyn,
       DropReason::FragmentRefused, 0},
      {"a reply that nobody asked for", outbound().icmp_echo(IcmpType::EchoReply, 1).frame(),
       DropReason::IcmpType, DropReason::FragmentRefused, 0},
      {"about to expire", outbound().udp().ttl(1).frame(), DropReason::TtlExpired, DropReason::TtlExpired, 1},
      {"of a foreign source", outbound().from(vm_mac(1), "10.1.1.1", 1).udp().frame(),
       DropReason::SourceForeign, DropReason::SourceForeign, 0}};
  for (const Case& c : cases)
    for (const Order order : {Order::Forwards, Order::Backwards}) {
      SCOPED_TRACE(c.says);
      auto before = bed.counts();
      put_all(kVm1, ordered(cut(c.whole, 1480), order));
      EXPECT_THAT(bed.take(kUplink), IsEmpty());
      EXPECT_THAT(bed.take(kVm1), SizeIs(c.told)) << "the sender is told about the first, at most";
      auto after = bed.counts();
      const auto grown = [&](DropReason reason) {
        const std::string name = "drop." + std::string(dataplane::kDropNames[index_of(reason)]);
        return after[name] - before[name];
      };
      EXPECT_EQ(grown(c.first), c.first == c.later ? 3u : 1u);
      EXPECT_EQ(grown(c.later), c.first == c.later ? 3u : 2u);
    }
}

TEST_P(Fragments, FromOutsideWithoutASessionStayOutside) {
  const net::Endpoint nobody{net::parse_ipv4(kExternal).value(), net::L4Port::from_host(4444)};
  put_all(kUplink, cut(inbound(nobody).udp().frame(), 1480));
  EXPECT_EQ(bed.dropped(DropReason::NoSession), 3u);
  put_all(kUplink, cut(inbound({net::parse_ipv4(kVm1Address).value(), {}}).udp().frame(), 1480));
  EXPECT_EQ(bed.dropped(DropReason::NotExternal), 3u);
  for (const PortIndex vm : {kVm1, kVm2}) EXPECT_THAT(bed.take(vm), IsEmpty());
}

// 203.0.113.2:5353 udp leads to vm1's port 53.
void forward_to_vm1(Testbed& bed) {
  bed.change_state([](ForwardingState& state) {
    const net::Endpoint external{net::parse_ipv4(kExternal).value(), net::L4Port::from_host(5353)};
    const net::Endpoint internal{net::parse_ipv4(kVm1Address).value(), net::L4Port::from_host(53)};
    state.forwards =
        WordTable<Forward>({{ForwardingState::forward_word(external, net::Protocol::Udp), {.to = internal}}});
    state.networks[0].hosts =
        WordTable<InsideHost>({{internal.address.raw(), {.mac = vm_mac(1), .port = kVm1}}});
  });
}

TEST_P(Fragments, ReachAForwardFromOutsideAndByHairpinAndSoDoTheAnswers) {
  forward_to_vm1(bed);
  bed.learn(kVm4, vm_mac(4));
  struct Sender {
    PortIndex port;
    net::MacAddr mac, gateway;
    const char *address, *seen_as;
  };
  const Sender senders[] = {{kUplink, kRouterMac, kUplinkMac, kServer, kServer},
                            {kVm2, vm_mac(2), kRedMac, kVm2Address, kExternal},
                            {kVm4, vm_mac(4), kBlueMac, "192.168.5.10", kExternal}};
  for (const Sender& sender : senders)
    for (const Order order : {Order::Forwards, Order::Backwards}) {
      SCOPED_TRACE(std::string("from ") + sender.address);
      const auto question =
          Packet().from(sender.mac, sender.address, 6000).to(sender.gateway, kExternal, 5353);
      const auto received = exchange(
          sender.port, ordered(cut(Packet(question).payload(4000).udp().frame(), 1480), order), kVm1);
      ASSERT_TRUE(received) << ::testing::PrintToString(bed.counts());
      EXPECT_EQ(to_string(source_of(*received).address), sender.seen_as);
      EXPECT_EQ(to_string(destination_of(*received)), "192.168.122.10:53");
      EXPECT_TRUE(has_good_checksums(*received));
      const auto answer = Packet()
                              .from(vm_mac(1), kVm1Address, 53)
                              .to(kRedMac, sender.seen_as, source_of(*received).port.host());
      const auto answered =
          exchange(kVm1, ordered(cut(Packet(answer).payload(3500).udp().frame(), 1480), order), sender.port);
      ASSERT_TRUE(answered) << ::testing::PrintToString(bed.counts());
      EXPECT_EQ(to_string(source_of(*answered)), "203.0.113.2:5353");
      EXPECT_EQ(to_string(destination_of(*answered)), std::string(sender.address) + ":6000");
      EXPECT_TRUE(has_good_checksums(*answered));
    }
}

// RFC 1858, RFC 3128, RFC 5722, RFC 791: each attack is a few frames; none of it gets by.
TEST_P(Fragments, ThatAttackAreStopped) {
  const Bytes syn = outbound().tcp(TcpHeader::kSyn).frame();
  const Bytes other = outbound().from(vm_mac(1), kVm1Address, 22).tcp(TcpHeader::kSyn).frame();
  const auto raw = [](Bytes frame, std::uint16_t fragment) {
    frame[20] = static_cast<std::byte>(fragment >> 8);
    frame[21] = static_cast<std::byte>(fragment & 0xff);
    mend_ip_checksum(frame);
    return frame;
  };
  struct Case {
    const char* says;
    std::vector<Bytes> frames;
    std::map<std::string, std::uint64_t> drops;
    unsigned leave;
  };
  const Case cases[] = {
      {"flags in the second fragment", {piece(syn, 0, 8), piece(syn, 8, 1000)}, {{"fragment_tiny", 2}}, 0},
      {"half a TCP header", {piece(syn, 0, 16), piece(syn, 16, 1000)}, {{"fragment_tiny", 2}}, 0},
      {"a TCP header rewritten from offset 8",
       {piece(syn, 0, 1000), piece(other, 8, 1000)},
       {{"fragment_tiny", 1}},
       1},
      {"the first fragment twice, with other ports",
       {piece(syn, 0, 1000), piece(other, 0, 1000)},
       {{"fragment_duplicate", 1}},
       1},
      {"a longer first fragment with other ports",
       {piece(syn, 0, 1000), piece(other, 0, 1008), piece(syn, 1000, 2000)},
       {{"fragment_overlap", 2}},
       1},
      {"an overlap that waits for the first",
       {piece(syn, 24, 48), piece(syn, 0, 32), piece(syn, 48, 64)},
       {{"fragment_overlap", 3}},
       0},
      {"UDP cut within its header", {piece(outbound().udp().frame(), 0, 0)}, {{"fragment_length", 1}}, 0},
      {"a ping of death",
       {raw(piece(outbound().udp().frame(), 0, 1480), 0x1fff)},
       {{"fragment_length", 1}},
       0},
      {"a middle fragment of odd length",
       {raw(piece(outbound().udp().frame(), 0, 1001), kMore | 8)},
       {{"fragment_length", 1}},
       0},
      {"TCP data offset beyond the first fragment",
       {piece(outbound().tcp(TcpHeader::kSyn).frame([](Bytes& b) { b[46] = std::byte{0xf0}; }), 0, 40)},
       {{"fragment_tiny", 1}},
       0}};
  std::uint16_t id = 100;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.says);
    auto before = bed.counts();
    for (const Bytes& frame : c.frames) bed.put(kVm1, with_id(frame, id));
    ++id;
    bed.run();
    EXPECT_THAT(bed.take(kUplink), SizeIs(c.leave));
    std::map<std::string, std::uint64_t> drops;
    for (const auto& [name, value] : bed.counts())
      if (name.starts_with("drop.") && value != before[name]) drops[name.substr(5)] = value - before[name];
    EXPECT_EQ(drops, c.drops);
  }
}

TEST_P(Fragments, FloodOfOneVmLeavesTheOthersAlone) {
  const std::vector<Bytes> flood = cut(outbound().udp().frame(), 1480);
  for (std::uint16_t id = 0; id < 600; ++id) bed.put(kVm1, with_id(flood[1], id));
  bed.run();
  EXPECT_EQ(bed.counts()["fragments.held"], 256u);
  EXPECT_EQ(bed.dropped(DropReason::FragmentQuota), 344u);
  const auto sent = exchange(kVm2, ordered(cut(from_vm2().udp().frame(), 1480), Order::Backwards), kUplink);
  ASSERT_TRUE(sent);
  EXPECT_TRUE(has_good_checksums(*sent));
  bed.advance(std::chrono::seconds(3));
  EXPECT_EQ(bed.dropped(DropReason::FragmentTimeout), 256u);
  EXPECT_EQ(bed.counts().count("fragments.held"), 0u);
}

// Any number of datagrams, cut anywhere, mixed, some with pieces twice, missing or overlapping: what is sound
// arrives whole and right; what is not never adds up to a datagram.
TEST_P(Fragments, AddUpToTheTranslatedDatagramOrToNothing) {
  std::mt19937 random(GetParam());
  const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
  for (unsigned round = 0; round < 60; ++round) {
    struct Flying {
      PortIndex port;
      Bytes fragment;
    };
    std::vector<Flying> flying;
    std::set<std::size_t> sound, incomplete;  // by size; each datagram has its own
    for (std::uint16_t n = 0; n < 8; ++n) {
      const bool is_one = n % 2 == 0;
      const auto port = static_cast<std::uint16_t>(20000 + round * 8 + n);
      const std::size_t size = 100 + 500 * n + below(500);
      const Bytes whole = (is_one ? outbound() : from_vm2())
                              .from(vm_mac(is_one ? 1 : 2), is_one ? kVm1Address : kVm2Address, port)
                              .payload(size)
                              .udp()
                              .frame();
      std::vector<Bytes> fragments;
      for (std::size_t at = 0, total = payload_size(whole); at < total;) {
        const std::size_t end = std::min(at + 8 * (1 + below(150)), total);
        fragments.push_back(piece(whole, at, end));
        at = end;
      }
      if (fragments.size() < 2) continue;
      const std::size_t harm = below(4);
      if (harm == 0)
        fragments.erase(fragments.begin() + static_cast<std::ptrdiff_t>(below(fragments.size())));
      if (harm == 1) fragments.push_back(piece(whole, 0, payload_size(whole) / 16 * 8 + 8));
      if (harm == 2) fragments.push_back(fragments[below(fragments.size())]);
      if (harm >= 2) sound.insert(size);
      if (harm == 0) incomplete.insert(size);
      // One identification for both VMs.
      for (const Bytes& fragment : fragments)
        flying.push_back({is_one ? kVm1 : kVm2, with_id(fragment, static_cast<std::uint16_t>(n / 2))});
    }
    std::ranges::shuffle(flying, random);
    for (const Flying& one : flying) {
      bed.put(one.port, one.fragment);
      if (below(3) == 0) bed.run();
    }
    bed.run();
    std::map<std::uint16_t, std::vector<Bytes>> by_id;
    for (Bytes& frame : bed.take(kUplink)) {
      ASSERT_EQ(to_string(net::view<net::Ipv4Header>(frame, 14)->source), kExternal);
      by_id[id_of(frame)].push_back(std::move(frame));
    }
    for (const auto& [id, fragments] : by_id) {
      const auto whole = joined(fragments);
      if (!whole) continue;
      EXPECT_TRUE(has_good_checksums(*whole));
      const std::size_t size = payload_size(*whole) - 8;
      EXPECT_EQ(incomplete.count(size), 0u);
      EXPECT_EQ(payload_of(*whole, 42), payload_of(outbound().payload(size).udp().frame(), 42));
      sound.erase(size);  // with an overlap behind its end, too, a datagram may have been complete before
    }
    EXPECT_THAT(sound, IsEmpty()) << "sound datagrams that did not arrive, round " << round;
    bed.advance(std::chrono::seconds(3));
    ASSERT_EQ(bed.counts().count("fragments.held"), 0u);
  }
}

}  // namespace
}  // namespace vmnat::test
