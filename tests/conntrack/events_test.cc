// SPDX-License-Identifier: Apache-2.0
// What listeners are told of sessions and of VMs' blocks.
#include <gtest/gtest.h>
#include <map>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

using About = SessionEventRing::About;

struct Listening {
  explicit Listening(Conntrack& conntrack, About about = About::Sessions, std::size_t events = 1024)
      : ring(std::make_shared<SessionEventRing>(about, events)), rings{ring} {
    conntrack.tell(&rings);
  }
  std::vector<SessionEvent> taken() {
    std::vector<SessionEvent> events;
    for (SessionEvent event; ring->take(event);) events.push_back(event);
    return events;
  }
  std::vector<EventKind> kinds() {
    std::vector<EventKind> kinds;
    for (const SessionEvent& event : taken()) kinds.push_back(event.kind);
    return kinds;
  }
  std::shared_ptr<SessionEventRing> ring;
  SessionEventRings rings;
};

using Kinds = std::vector<EventKind>;

TEST(SessionEvents, TellOfASessionsWholeLife) {
  Nat nat;
  Listening listening(*nat);
  Session* session =
      nat.open(endpoint("192.168.122.10", 40000), endpoint("9.9.9.9", 443), kTcp, at_seconds(1), 2);
  follow_tcp(*nat, *session, kOut, {.sequence = 100, .flags = kSyn}, at_seconds(1));
  follow_tcp(*nat, *session, kIn, {.sequence = 900, .acknowledged = 101, .flags = kSyn | kAck},
             at_seconds(1));
  follow_tcp(*nat, *session, kOut, {.sequence = 101, .acknowledged = 901, .flags = kAck}, at_seconds(2));
  count(*session, kOut, 60);
  nat->erase(*session, at_seconds(3));

  const auto events = listening.taken();
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(events.front().kind, EventKind::Opened);
  EXPECT_EQ(events.front().session.state, SessionState::SynOutbound);
  EXPECT_EQ(events.front().session.vm_port, 2);
  EXPECT_EQ(events.front().session.internal, endpoint("192.168.122.10", 40000));
  EXPECT_EQ(events.front().session.remote, endpoint("9.9.9.9", 443));
  EXPECT_EQ(events[events.size() - 2].kind, EventKind::Changed);
  EXPECT_EQ(events[events.size() - 2].session.state, SessionState::Established);
  EXPECT_EQ(events.back().kind, EventKind::Ended);
  EXPECT_EQ(events.back().when, at_seconds(3));
  EXPECT_EQ(events.back().session.bytes_out, 60u);
  EXPECT_EQ(events.back().session.packets_out, 1u);
}

TEST(SessionEvents, TellOfSessionsThatTimeOut) {
  Nat nat;
  Listening listening(*nat);
  nat.open(endpoint("192.168.122.10", 40000), endpoint("9.9.9.9", 4000), kUdp, at_seconds(0));
  nat->expire(at_seconds(1000), 4096);
  nat->expire(at_seconds(1005), 4096);
  EXPECT_EQ(listening.kinds(), (Kinds{EventKind::Opened, EventKind::Ended}));
}

TEST(SessionEvents, NobodyIsToldWhoDoesNotListenAnyMore) {
  Nat nat;
  Listening listening(*nat);
  nat->tell(nullptr);
  nat.open(endpoint("192.168.122.10", 40000), endpoint("9.9.9.9", 4000));
  EXPECT_TRUE(listening.taken().empty());
}

TEST(SessionEvents, WhatFindsNoRoomIsCountedAndTheRestComesInOrder) {
  Nat nat;
  Listening listening(*nat, About::Sessions, 4);
  for (unsigned port = 1; port <= 6; ++port)
    nat.open(endpoint("192.168.122.10", 5000 + port), endpoint("9.9.9.9", 4000));
  EXPECT_EQ(listening.ring->missed(), 2u);
  auto events = listening.taken();
  ASSERT_EQ(events.size(), 4u);
  for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(events[i].session.internal.port.host(), 5001 + i);
  nat.open(endpoint("192.168.122.10", 6000), endpoint("9.9.9.9", 4000));
  events = listening.taken();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].session.internal.port.host(), 6000);
}

NatPolicy by_block(std::uint16_t ports) {
  NatPolicy policy;
  policy.block_ports = ports;
  return policy;
}

// Turns of the sweep, until all that has been used has rested.
void let_rest(Nat& nat, std::uint32_t from) {
  for (std::uint32_t second = from; second < from + 400; second += 5) nat->expire(at_seconds(second), 4096);
}

TEST(VmBlocks, AVmsPortsAreOfItsOwnBlock) {
  Nat nat({.capacity = 16384}, by_block(512));
  Listening listening(*nat, About::Blocks);
  std::vector<SessionEvent> given;
  for (unsigned vm = 0; vm < 20; ++vm) {
    const std::string address = "192.168.122." + std::to_string(10 + vm);
    for (unsigned port = 0; port < 512; ++port)
      ASSERT_NE(nat.open(endpoint(address, 1 + port), endpoint("9.9.9.9", 4000)), nullptr);
    const auto events = listening.taken();
    ASSERT_EQ(events.size(), 1u) << "one line a VM, and none for its sessions";
    EXPECT_EQ(events[0].kind, EventKind::BlockGiven);
    EXPECT_EQ(events[0].block_ports, 512);
    EXPECT_EQ(events[0].session.internal.address, net::parse_ipv4(address));
    EXPECT_EQ(events[0].session.external.port.host() % 512, 0);
    given.push_back(events[0]);
  }
  std::uint32_t cursor = 0;
  std::array<SessionView, 256> chunk{};
  std::size_t seen = 0;
  for (std::size_t filled = chunk.size(); filled == chunk.size();) {
    filled = nat->snapshot(cursor, chunk);
    for (std::size_t i = 0; i < filled; ++i, ++seen) {
      const SessionEvent& block =
          given[chunk[i].internal.address.host() - given[0].session.internal.address.host()];
      const unsigned first = block.session.external.port.host();
      EXPECT_EQ(chunk[i].external.port.host() / 512, first / 512);
    }
  }
  EXPECT_EQ(seen, 20u * 512);
  std::string why;
  EXPECT_TRUE(nat->check_invariants(&why)) << why;
}

TEST(VmBlocks, AVmGetsAnotherBlockWhenItsOwnIsFullAndNoneWhenThereIsNone) {
  Nat nat({.first_port = 1024, .last_port = 2047, .capacity = 8192}, by_block(512));
  Listening listening(*nat, About::Blocks);
  unsigned opened = 0;
  for (unsigned port = 1; port <= 1500; ++port)
    opened += nat.open(endpoint("192.168.122.10", port), endpoint("9.9.9.9", 4000)) != nullptr;
  EXPECT_EQ(opened, 1024u);
  EXPECT_EQ(listening.kinds(), (Kinds{EventKind::BlockGiven, EventKind::BlockGiven}));
  EXPECT_EQ(nat.try_open(endpoint("192.168.122.11", 1), endpoint("1.1.1.1", 4000)).verdict,
            Verdict::NoFreePort)
      << "no port of a block is overloaded";
  EXPECT_NE(nat.open(endpoint("192.168.122.10", 1), endpoint("9.9.9.9", 4000), kTcp), nullptr)
      << "a block has ports of every protocol";
}

TEST(VmBlocks, ABlockIsReturnedWhenItsPortsHaveRestedAndNotBefore) {
  Nat nat({}, by_block(64));
  Listening listening(*nat, About::Blocks);
  Session* session =
      nat.open(endpoint("192.168.122.10", 5000), endpoint("9.9.9.9", 4000), kUdp, at_seconds(10));
  nat->erase(*session, at_seconds(20));
  for (std::uint32_t second = 20; second < 120; second += 5) nat->expire(at_seconds(second), 4096);
  EXPECT_EQ(listening.kinds(), Kinds{EventKind::BlockGiven}) << "its ports rest for 120 s at least";
  let_rest(nat, 120);
  const auto events = listening.taken();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, EventKind::BlockReturned);
  EXPECT_EQ(events[0].block_ports, 64);
  EXPECT_EQ(events[0].session.internal.address, net::parse_ipv4("192.168.122.10"));
  std::string why;
  EXPECT_TRUE(nat->check_invariants(&why)) << why;
}

TEST(VmBlocks, TheInternalPortIsKeptWhereItIsInTheBlock) {
  Nat nat({}, by_block(4096));
  Session* first = nat.open(endpoint("192.168.122.10", 1), endpoint("9.9.9.9", 4000));
  ASSERT_NE(first, nullptr);
  const unsigned inside = first->external().port.host() / 4096 * 4096 + 100;
  Session* second = nat.open(endpoint("192.168.122.10", inside), endpoint("9.9.9.9", 4000));
  ASSERT_NE(second, nullptr);
  EXPECT_TRUE(second->external().port.host() == inside || first->external().port.host() == inside);
}

TEST(VmBlocks, WhatHasNoPortsIsToldSingly) {
  Nat nat({}, by_block(64));
  Listening listening(*nat, About::Blocks);
  nat.open(endpoint("192.168.122.10", 0), endpoint("9.9.9.9", 0), kGre);
  EXPECT_EQ(listening.kinds(), Kinds{EventKind::Opened});
}

TEST(VmBlocks, ManyComeAndGoAndNothingIsLost) {
  Nat nat({.first_port = 1024, .last_port = 5119, .capacity = 8192}, by_block(64));
  Listening listening(*nat, About::Blocks, 1 << 16);
  Random random(7);
  std::map<std::string, int> had;
  std::uint32_t now = 1;
  for (unsigned round = 0; round < 40; ++round) {
    std::vector<Session*> sessions;
    for (unsigned i = 0; i < 300; ++i) {
      const std::string address = "192.168.122." + std::to_string(2 + random.next() % 100);
      if (Session* session = nat.open(endpoint(address, 1 + static_cast<unsigned>(random.next() % 60000)),
                                      endpoint("9.9.9.9", 4000 + i), kUdp, at_seconds(now)))
        sessions.push_back(session);
    }
    std::ranges::sort(sessions);
    sessions.erase(std::unique(sessions.begin(), sessions.end()), sessions.end());
    for (Session* session : sessions) nat->erase(*session, at_seconds(now));
    let_rest(nat, now);
    now += 400;
    std::string why;
    ASSERT_TRUE(nat->check_invariants(&why)) << why;
    for (const SessionEvent& event : listening.taken()) {
      const std::string block = std::to_string(event.session.external.port.host());
      had[block] += event.kind == EventKind::BlockGiven ? 1 : -1;
      EXPECT_TRUE(had[block] == 0 || had[block] == 1) << "two have block " << block;
    }
  }
  for (const auto& [block, times] : had) EXPECT_EQ(times, 0) << block << " was not returned";
  EXPECT_GT(had.size(), 50u);
  EXPECT_EQ(listening.ring->missed(), 0u);
}

}  // namespace
}  // namespace vmnat::conntrack
