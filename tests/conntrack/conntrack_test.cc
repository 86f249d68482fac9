// SPDX-License-Identifier: Apache-2.0
// Sessions as the dataplane meets them: open, find either way, rewrite, count, expire, show.
#include "conntrack/conntrack.h"

#include <algorithm>
#include <bit>
#include <random>
#include <set>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

const net::Endpoint kVm = endpoint("192.168.122.10", 40000);
const net::Endpoint kServer = endpoint("198.51.100.1", 4433);

TEST(Conntrack, FindsASessionByBothDirections) {
  Nat nat;
  Session* session = nat.open(kVm, kServer);
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(nat->find(FlowKey::of(kVm, kServer, kUdp)), session);
  EXPECT_EQ(nat->find(FlowKey::of(session->external(), kServer, kUdp)), session);
  EXPECT_EQ(nat->find(FlowKey::of(kVm, kServer, kTcp)), nullptr);
  EXPECT_EQ(nat->find(FlowKey::of(kVm, endpoint("198.51.100.1", 4434), kUdp)), nullptr);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Conntrack, PreservesTheInternalPortWhenItIsFree) {
  Nat nat;
  EXPECT_EQ(nat.open(kVm, kServer)->external(), endpoint("203.0.113.1", 40000));
  const auto other = nat.open(endpoint("192.168.122.11", 40000), kServer)->external();
  EXPECT_NE(other.port.host(), 40000);
  EXPECT_GE(other.port.host(), 1024);
}

TEST(Conntrack, BurstLookupFindsWhatSingleLookupFinds) {
  Nat nat({.addresses = 2, .capacity = 20000});
  std::mt19937_64 random(7);
  std::vector<FlowKey> keys;
  for (unsigned i = 0; i < 20000; ++i) {
    const auto vm =
        net::Endpoint{net::Ipv4Addr::from_host(0xc0a80000 + i % 1000), net::L4Port::from_host(1024 + i)};
    const Session* session = nat.open(vm, kServer);
    ASSERT_NE(session, nullptr) << i;
    keys.push_back(session->outbound_key());
    keys.push_back(session->inbound_key());
    keys.push_back(FlowKey{random() & FlowKey::kRemoteMask, random() & FlowKey::kLocalMask});
  }
  std::shuffle(keys.begin(), keys.end(), random);
  for (std::size_t at = 0; at + Conntrack::kMaxBurst <= keys.size(); at += Conntrack::kMaxBurst) {
    std::array<Session*, Conntrack::kMaxBurst> found;
    nat->find_burst(std::span(keys).subspan(at, Conntrack::kMaxBurst), found.data());
    for (std::size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], nat->find(keys[at + i]));
  }
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Conntrack, RewritesBothWaysWithDeltasThatCancel) {
  Nat nat({.first_port = 5000});
  for (const net::Protocol protocol : {kTcp, kUdp, kIcmp, kGre}) {
    const net::Endpoint vm =
        protocol == kGre ? endpoint("192.168.122.10", 0) : endpoint("192.168.122.10", 2222);
    const net::Endpoint server = protocol == kTcp || protocol == kUdp ? kServer : endpoint("198.51.100.1", 0);
    const Session* session = nat.open(vm, server, protocol);
    const Rewrite out = session->rewrite<Direction::Outbound>(),
                  in = rewrite_of(*session, Direction::Inbound);
    EXPECT_EQ(out.endpoint, session->external());
    EXPECT_EQ(in.endpoint, vm);
    const auto address = net::ChecksumDelta::of(vm.address, out.endpoint.address);
    const auto port = net::ChecksumDelta::of(vm.port, out.endpoint.port);
    EXPECT_EQ(out.address_delta, address);
    // ICMP has no pseudo-header: its checksum sees the identifier alone.
    EXPECT_EQ(out.l4_delta, protocol == kIcmp ? port : address + port);
    const auto checksum = net::Be16::from_raw(0x1234);
    EXPECT_EQ(in.address_delta.applied_to(out.address_delta.applied_to(checksum)), checksum);
    EXPECT_EQ(in.l4_delta.applied_to(out.l4_delta.applied_to(checksum)), checksum);
  }
}

TEST(Conntrack, CountsBeyondThirtyTwoBits) {
  Session session;
  constexpr std::uint32_t kHuge = 0xffff'ffff;
  for (unsigned i = 0; i < 1000; ++i) count(session, kIn, kHuge);
  EXPECT_EQ(session.bytes(kIn), 1000ull * kHuge);
  EXPECT_EQ(session.packets(kIn), 1000u);
  EXPECT_EQ(session.bytes(kOut), 0u);
  EXPECT_EQ(session.packets(kOut), 0u);
}

TEST(Conntrack, PacketsCarryIntoTheHighBitsOfTheirOwnDirection) {
  // A record a little below 2^18 and 2^34 packets, as the words say it.
  for (const bool middle_is_full : {false, true}) {
    std::array<std::uint64_t, 8> words{};
    words[5] = words[6] = 0x3'fffe;
    words[7] = middle_is_full ? 0xffff'ffff'1234'5678 : 0x1234'5678;
    auto session = std::bit_cast<Session>(words);
    const std::uint64_t before = middle_is_full ? 0x3'ffff'fffe : 0x3'fffe;
    for (unsigned i = 0; i < 3; ++i) count(session, kOut, 10);
    EXPECT_EQ(session.packets(kOut), before + 3);
    EXPECT_EQ(session.packets(kIn), before);
    for (unsigned i = 0; i < 5; ++i) count(session, kIn, 10);
    EXPECT_EQ(session.packets(kIn), before + 5);
    EXPECT_EQ(session.packets(kOut), before + 3);
    EXPECT_EQ(session.bytes(kOut), 30u);
    EXPECT_EQ(session.bytes(kIn), 50u);
    EXPECT_EQ(session.sequence(), 0x1234'5678u);
    EXPECT_EQ(session.state(), SessionState::Free);
  }
}

TEST(Conntrack, OpeningTwiceGivesTheSameSession) {
  Nat nat({}, {.mapping = Mapping::EndpointDependent});
  Session* session = nat.open(kVm, kServer);
  EXPECT_EQ(nat.open(kVm, kServer), session);
  EXPECT_EQ(nat->statistics().created, 1u);
  EXPECT_EQ(nat->ports_used(0, PortSpace::Udp), 1u);
}

TEST(Conntrack, OneMappingCarriesAHundredThousandSessions) {
  Nat nat({.capacity = 100'000});
  for (unsigned i = 0; i < 100'000; ++i) {
    const net::Endpoint remote{net::Ipv4Addr::from_host(0x60000000 + i), net::L4Port::from_host(53)};
    ASSERT_EQ(nat.open(kVm, remote)->external(), endpoint("203.0.113.1", 40000)) << i;
  }
  EXPECT_EQ(nat->ports_used(0, PortSpace::Udp), 1u);
  EXPECT_EQ(nat.broken_invariant(), "");
  EXPECT_EQ(nat.expire_all(at_seconds(300)), 100'000u);
  EXPECT_EQ(nat->ports_used(0, PortSpace::Udp), 0u);
  EXPECT_EQ(nat->statistics().mappings, 0u);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Conntrack, ForwardsOpenFromOutsideAndTakeNoPort) {
  Nat nat({.reserved = {8080}});
  const net::Endpoint external = endpoint("203.0.113.1", 8080), web = endpoint("192.168.122.10", 80);
  const InboundFlow flow{
      .key = FlowKey::of(external, kServer, kTcp), .forward_to = web, .vm_port = 2, .tcp_flags = kSyn};
  const Opened opened = nat->open_inbound(flow, 0, {});
  ASSERT_EQ(opened.verdict, Verdict::Opened);
  EXPECT_EQ(rewrite_of(*opened.session, kIn).endpoint, web);
  EXPECT_EQ(rewrite_of(*opened.session, kOut).endpoint, external);
  EXPECT_EQ(opened.session->vm_port(), 2);
  EXPECT_EQ(nat->ports_used(0, PortSpace::Tcp), 0u);
  EXPECT_EQ(nat.broken_invariant(), "");
  nat->erase(*opened.session, {});
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Conntrack, AForwardOfAPortThatIsNotReservedTakesItFromThePool) {
  Nat nat;
  const net::Endpoint external = endpoint("203.0.113.1", 8080), web = endpoint("192.168.122.10", 80);
  const InboundFlow flow{.key = FlowKey::of(external, kServer, kUdp), .forward_to = web};
  Session* session = nat->open_inbound(flow, 0, {}).session;
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(nat->ports_used(0, PortSpace::Udp), 1u);
  EXPECT_NE(nat.open(endpoint("192.168.122.11", 8080), kServer)->external(), external);
  nat->erase(*session, {});
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Conntrack, ExpiryLooksAtEveryRecordWithinFourSecondsInSmallPortions) {
  constexpr unsigned kSessions = 50'000;
  Nat nat({.capacity = kSessions});
  for (unsigned i = 0; i < kSessions; ++i)
    nat.open({kVm.address, net::L4Port::from_host(static_cast<std::uint16_t>(i + 1))}, kServer);
  // The polls of 4 s, each with a budget of 64; time advances by ticks.
  const Time start = at_seconds(300);
  unsigned expired = 0;
  for (unsigned tick = 0; tick < 64; ++tick) {
    for (unsigned poll = 0; poll < 20; ++poll) {
      const unsigned now_expired = nat->expire(start + Ticks{tick}, 64);
      EXPECT_LE(now_expired, 64u);
      expired += now_expired;
    }
  }
  EXPECT_EQ(expired, kSessions);
  EXPECT_EQ(nat->statistics().expired, kSessions);
  EXPECT_EQ(nat->statistics().erased, 0u);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Conntrack, TimeMayWrapAround) {
  Nat nat;
  const Time late{Ticks{0xffff'ffff}};
  nat.open(kVm, kServer, kUdp, late);
  nat->expire(late + Ticks{std::chrono::seconds(299)}, ~0u);
  EXPECT_EQ(nat->statistics().active, 1u);
  nat.expire_all(late + Ticks{std::chrono::seconds(300)});
  EXPECT_EQ(nat->statistics().active, 0u);
}

TEST(Conntrack, FlushesWhatMatchesInPortions) {
  Nat nat;
  for (unsigned i = 0; i < 1000; ++i)
    nat.open(endpoint("192.168.122.10", 2000 + i), kServer, kUdp, {}, i % 4);
  std::uint32_t cursor = 0;
  unsigned erased = 0, calls = 0;
  do {
    nat->visit_some(cursor, 100, [&](Session& session) {
      if (session.vm_port() != 3) return;
      nat->erase(session, {});
      ++erased;
    });
    ++calls;
  } while (cursor != 0);
  EXPECT_EQ(erased, 250u);
  EXPECT_EQ(calls, 10u);
  EXPECT_EQ(sessions_of(*nat, 3), 0u);
  EXPECT_EQ(sessions_of(*nat, 2), 250u);
  EXPECT_EQ(nat->statistics().erased, 250u);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST(Conntrack, ShowsEverySessionOnceThroughACursor) {
  Nat nat;
  for (unsigned i = 0; i < 1000; ++i)
    nat.open(endpoint("192.168.122.10", 2000 + i), kServer, kUdp, at_seconds(5), 3);
  for (unsigned i = 0; i < 1000; i += 3)
    nat->erase(*nat->find(FlowKey::of(endpoint("192.168.122.10", 2000 + i), kServer, kUdp)), {});
  std::array<SessionView, 64> views;
  std::set<net::Endpoint> seen;
  std::uint32_t cursor = 0;
  for (std::size_t count = views.size(); count == views.size();) {
    count = nat->snapshot(cursor, views);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_TRUE(seen.insert(views[i].internal).second);
      EXPECT_EQ(views[i].remote, kServer);
      EXPECT_EQ(views[i].vm_port, 3);
      EXPECT_EQ(views[i].expires, at_seconds(305));
    }
  }
  EXPECT_EQ(seen.size(), 666u);
}

TEST(Conntrack, ReloadedTimeoutsHoldForSessionsThatExist) {
  Nat nat;
  nat.open(kVm, kServer);
  NatPolicy shorter = nat.policy();
  shorter.timeouts.udp = std::chrono::seconds(10);
  nat->set_policies({&shorter, 1});
  nat.expire_all(at_seconds(10));
  EXPECT_EQ(nat->statistics().active, 0u);
}

TEST(Conntrack, PrefetchingChangesNoAnswer) {
  Nat plain, prefetched;
  for (unsigned i = 0; i < 3000; ++i) {
    const net::Endpoint vm{net::Ipv4Addr::from_host(0xc0a87a00 + i % 100),
                           net::L4Port::from_host(static_cast<std::uint16_t>(3000 + i / 100 % 10))};
    const net::Protocol protocol = i % 7 == 0 ? kGre : kUdp;
    OutboundFlow flow{
        .key = FlowKey::of(vm, {kServer.address, net::L4Port::from_host(static_cast<std::uint16_t>(i))},
                           protocol)};
    const Opened without = plain->open_outbound(flow, 0, {});
    prefetched->prefetch_open({&flow, 1}, 0);
    const Opened with = prefetched->open_outbound(flow, 0, {});
    ASSERT_EQ(with.verdict, without.verdict);
  }
  EXPECT_EQ(plain->statistics().mappings, prefetched->statistics().mappings);
  EXPECT_EQ(prefetched.broken_invariant(), "");
}

TEST(Conntrack, CostsSixtyFourBytesARecordAndUnderAHundredInAll) {
  // The dearest case: each session has a mapping of its own. 1 M sessions: 100 bytes each.
  static_assert(sizeof(Session) == 64);
  static_assert(sizeof(TagIndex::Bucket) / TagIndex::kBucketEntries == 6);
  constexpr unsigned kSessions = 64 * 1000;
  Nat nat({.capacity = kSessions});
  const std::size_t before = nat->memory_used() + nat.ports().memory_used();
  EXPECT_LT(before, 1u << 20);  // tables are reserved, not used
  for (unsigned i = 0; i < kSessions; ++i)
    nat.open({kVm.address, net::L4Port::from_host(static_cast<std::uint16_t>(1024 + i))}, kServer);
  EXPECT_EQ(nat->statistics().mappings, kSessions);
  // Seven arrays round up to huge pages where the system gives them.
  EXPECT_LT(nat->memory_used() + nat.ports().memory_used(), kSessions * 100u + 7 * (2u << 20));
}

TEST(Conntrack, RefusesSettingsThatCannotBe) {
  Nat nat;
  const NatPolicy& policy = nat.policy();
  EXPECT_EQ(Conntrack::create({.capacity = 0}, nat.ports(), nat.addresses(), {&policy, 1}), nullptr);
  EXPECT_EQ(Conntrack::create({.capacity = (1u << 30) + 1}, nat.ports(), nat.addresses(), {&policy, 1}),
            nullptr);
  EXPECT_EQ(Conntrack::create({.capacity = 10, .worker = 1}, nat.ports(), nat.addresses(), {&policy, 1}),
            nullptr);
  const std::vector<NatPolicy> many(kMaxPolicies + 1, policy);
  EXPECT_EQ(Conntrack::create({.capacity = 10}, nat.ports(), nat.addresses(), many), nullptr);
}

TEST(Conntrack, ProtocolsWithoutPortsBelongToOneWorkerForEachRemote) {
  Nat nat({.addresses = 2, .workers = 2});
  unsigned of_first = 0;
  for (std::uint32_t i = 0; i < 64; ++i) {
    const net::Endpoint remote{net::Ipv4Addr::from_host(0xc6336401 + i), {}};
    // Two VMs, so that both external addresses are held.
    for (const char* internal : {"192.168.122.10", "192.168.122.11"}) {
      const FlowKey key = FlowKey::of(endpoint(internal, 0), remote, kGre);
      const unsigned owner = nat.ports().portless_owner(remote.address);
      EXPECT_EQ(nat.worker(owner).open_outbound({.key = key}, 0, {}).verdict, Verdict::Opened);
      EXPECT_EQ(nat.worker(1 - owner).open_outbound({.key = key}, 0, {}).verdict, Verdict::OtherWorker);
      of_first += owner == 0 ? 1 : 0;
    }
  }
  EXPECT_GT(of_first, 32u);
  EXPECT_LT(of_first, 96u);
}

}  // namespace
}  // namespace vmnat::conntrack
