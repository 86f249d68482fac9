// SPDX-License-Identifier: Apache-2.0
// Every legal tuple is given before the first refusal, and again after it.
#include <map>
#include <random>
#include <set>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

constexpr unsigned kPorts = 64512;  // 1024-65535

net::Endpoint internal_number(unsigned i) {
  return {net::Ipv4Addr::from_host(0x0a000001 + i / 50000),
          net::L4Port::from_host(static_cast<std::uint16_t>(1024 + i % 50000))};
}

// Opens flows from new internal endpoints to `remote` until one is refused; how many opened.
unsigned open_until_refused(Nat& nat, net::Endpoint remote, unsigned& next, net::Protocol protocol = kUdp) {
  std::set<net::Endpoint> externals;
  for (;;) {
    const Opened opened = nat.try_open(internal_number(next++), remote, protocol);
    if (opened.session == nullptr) {
      EXPECT_EQ(opened.verdict, Verdict::NoFreePort);
      return static_cast<unsigned>(externals.size());
    }
    if (!externals.insert(opened.session->external()).second) ADD_FAILURE() << "one tuple twice";
  }
}

TEST(Exhaustion, AllTuplesOfOneRemoteAndThenOfASecondAreGiven) {
  constexpr unsigned kAddresses = 2;
  Nat nat({.addresses = kAddresses, .capacity = 3 * kAddresses * kPorts});
  unsigned next = 0;
  EXPECT_EQ(open_until_refused(nat, endpoint("198.51.100.1", 443), next), kAddresses * kPorts);
  EXPECT_EQ(nat->statistics().overloaded, 0u);
  EXPECT_EQ(open_until_refused(nat, endpoint("198.51.100.2", 443), next), kAddresses * kPorts);
  EXPECT_EQ(nat->statistics().overloaded, kAddresses * kPorts);
  EXPECT_EQ(nat->statistics().active, 2u * kAddresses * kPorts);
  EXPECT_EQ(nat->ports_used(0, PortSpace::Udp), kPorts);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Exhaustion, TheOneTupleThatIsFreeAgainIsFound) {
  Nat nat({.capacity = 4 * kPorts});
  unsigned next = 0;
  const net::Endpoint first = endpoint("198.51.100.1", 443), second = endpoint("198.51.100.2", 443);
  open_until_refused(nat, first, next);
  open_until_refused(nat, second, next);
  std::mt19937 random(1);
  for (unsigned i = 0; i < 1000; ++i) {
    const net::Endpoint& remote = i % 2 ? first : second;
    const net::Endpoint external{
        Nat::external_address(0),
        net::L4Port::from_host(static_cast<std::uint16_t>(1024 + random() % kPorts))};
    nat->erase(*nat->find(FlowKey::of(external, remote, kUdp)), {});
    const Opened opened = nat.try_open(internal_number(next++), remote);
    ASSERT_EQ(opened.verdict, Verdict::Opened);
    ASSERT_EQ(opened.session->external(), external);
    ASSERT_EQ(nat.try_open(internal_number(next++), remote).verdict, Verdict::NoFreePort);
  }
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Exhaustion, RecoversWholly) {
  Nat nat({.capacity = 2 * kPorts});
  unsigned next = 0;
  EXPECT_EQ(open_until_refused(nat, endpoint("198.51.100.1", 443), next), kPorts);
  EXPECT_EQ(nat.expire_all(at_seconds(301)), kPorts);
  EXPECT_EQ(nat->ports_used(0, PortSpace::Udp), 0u);
  EXPECT_EQ(nat.broken_invariant(), "");
  EXPECT_EQ(open_until_refused(nat, endpoint("198.51.100.1", 443), next), kPorts);
}

TEST(Exhaustion, ProtocolsDoNotTakeEachOthersPorts) {
  Nat nat({.capacity = 4 * kPorts});
  unsigned next = 0;
  for (const net::Protocol protocol : {kTcp, kUdp, kIcmp}) {
    const net::Endpoint remote =
        protocol == kIcmp ? endpoint("198.51.100.1", 0) : endpoint("198.51.100.1", 443);
    EXPECT_EQ(open_until_refused(nat, remote, next, protocol), kPorts);
  }
}

// VMs that ask one resolver from a new port each time, behind one address: 217 a second for 5 minutes.
TEST(Exhaustion, QuestionsToAResolverGiveTheirPortsBackInTime) {
  constexpr unsigned kPerSecond = 217, kSeconds = 300;
  Nat nat({.capacity = 1u << 17});
  const net::Endpoint resolver = endpoint("198.51.100.1", 53);
  std::uint64_t most = 0;
  for (unsigned i = 0; i < kPerSecond * kSeconds; ++i) {
    const Time now{Ticks{i * 16 / kPerSecond}};
    const net::Endpoint vm{net::Ipv4Addr::from_host(0xc0a87a0a + i % 2),
                           net::L4Port::from_host(static_cast<std::uint16_t>(1024 + i / 2 % 64000))};
    Session* session = nat.open(vm, resolver, kUdp, now);
    ASSERT_NE(session, nullptr) << i;
    for (const Direction direction : {kOut, kIn}) {
      count(*session, direction, 60);
      keep_alive(*session, direction, now);
    }
    nat->expire(now, 1000);
    most = std::max(most, nat->statistics().active);
  }
  EXPECT_LT(most, 36u * kPerSecond);
  EXPECT_EQ(nat->statistics().overloaded, 0u);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Exhaustion, RefusesAtTheLastPortWhenOverloadIsOff) {
  Nat nat({.capacity = 2 * kPorts, .seed = 3}, {.overload = false});
  unsigned next = 0;
  EXPECT_EQ(open_until_refused(nat, endpoint("198.51.100.1", 443), next), kPorts);
  EXPECT_EQ(nat.try_open(internal_number(next), endpoint("198.51.100.2", 443)).verdict, Verdict::NoFreePort);
  // An endpoint that has a mapping goes on.
  EXPECT_EQ(nat.try_open(internal_number(0), endpoint("198.51.100.2", 443)).verdict, Verdict::Opened);
}

TEST(Exhaustion, EachProtocolWithoutPortsHasOneHolderForEachAddressAndRemote) {
  Nat nat({.addresses = 3});
  const net::Endpoint remote = endpoint("198.51.100.1", 0);
  std::set<net::Endpoint> externals;
  for (unsigned i = 0; i < 3; ++i) {
    const Opened opened = nat.try_open({net::Ipv4Addr::from_host(0x0a000001 + i), {}}, remote, kGre);
    ASSERT_EQ(opened.verdict, Verdict::Opened);
    EXPECT_EQ(opened.session->external().port.host(), 0);
    externals.insert(opened.session->external());
  }
  EXPECT_EQ(externals.size(), 3u);
  EXPECT_EQ(nat.try_open({net::Ipv4Addr::from_host(0x0a000009), {}}, remote, kGre).verdict,
            Verdict::NoFreePort);
  EXPECT_EQ(
      nat.try_open({net::Ipv4Addr::from_host(0x0a000009), {}}, endpoint("198.51.100.2", 0), kGre).verdict,
      Verdict::Opened);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Exhaustion, ManyExhaustedRemotesAreKeptApart) {
  // More remotes than planes: 200 remotes share 10 ports, every tuple is given.
  Nat nat({.first_port = 2000, .last_port = 2009, .capacity = 4000});
  unsigned next = 0;
  for (unsigned round = 0; round < 2; ++round) {
    for (unsigned remote = 0; remote < 200; ++remote) {
      const unsigned expected = round == 0 ? 10 : 0;
      EXPECT_EQ(open_until_refused(nat, endpoint("198.51.100.1", 1000 + remote), next), expected) << remote;
    }
  }
  EXPECT_EQ(nat->statistics().active, 2000u);
}

}  // namespace
}  // namespace vmnat::conntrack
