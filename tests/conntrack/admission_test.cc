// SPDX-License-Identifier: Apache-2.0
// Who gets a session when many are asked for: floods of one VM, floods from outside, and the others.
#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

constexpr PortIndex kFlooder = 1, kVictim = 2;
constexpr std::uint32_t kCapacity = 4096;
const net::Endpoint kRemote = endpoint("198.51.100.1", 53);
const net::Endpoint kService = endpoint("203.0.113.1", 80), kServer = endpoint("192.168.122.11", 80);

net::Endpoint of_vm(PortIndex port, unsigned i) {
  return {net::Ipv4Addr::from_host(0xc0a87a0a + port),
          net::L4Port::from_host(static_cast<std::uint16_t>(2000 + i))};
}
net::Endpoint spoofed(unsigned i) {
  return {net::Ipv4Addr::from_host(0xc6120000 + i), net::L4Port::from_host(1000)};
}

class Admission : public testing::Test {
 protected:
  Session* open(PortIndex port, unsigned i, net::Protocol protocol = kUdp, Time now = {}) {
    return nat_.open(of_vm(port, i), kRemote, protocol, now, port);
  }
  Session* open_answered(PortIndex port, unsigned i) {
    Session* session = open(port, i);
    if (session != nullptr)
      for (const Direction direction : {kOut, kIn}) count(*session, direction, 60);
    return session;
  }
  Session* open_established(PortIndex port, unsigned i) {
    Session* session = open(port, i, kTcp);
    if (session == nullptr) return nullptr;
    follow_tcp(*nat_, *session, kOut, {100, 0, 0, kSyn}, {});
    follow_tcp(*nat_, *session, kIn, {900, 101, 0, kSyn | kAck}, {});
    follow_tcp(*nat_, *session, kOut, {101, 901, 0, kAck}, {});
    return session;
  }
  // How many are opened of so many flows that nobody answers.
  unsigned flood(PortIndex port, unsigned flows) {
    unsigned opened = 0;
    for (unsigned i = 0; i < flows; ++i) opened += open(port, 100 + i) != nullptr ? 1 : 0;
    return opened;
  }
  unsigned flood_with_syns(unsigned syns, net::Protocol protocol = kTcp) {
    unsigned opened = 0;
    for (unsigned i = 0; i < syns; ++i)
      opened +=
          nat_.try_forward(kService, kServer, spoofed(i), protocol, kFlooder).session != nullptr ? 1 : 0;
    return opened;
  }
  std::uint64_t early_dropped() { return nat_->statistics().early_dropped; }

  Nat nat_{{.capacity = kCapacity, .vm_ports = 5, .guests = 4}};
};

TEST_F(Admission, AFloodOfOneVmTakesHalfOfTheTableAndReplacesItself) {
  EXPECT_EQ(flood(kFlooder, 6000), 6000u);
  EXPECT_EQ(sessions_of(*nat_, kFlooder), kCapacity / 2);
  EXPECT_EQ(early_dropped(), 6000u - kCapacity / 2);
  EXPECT_NE(open(kVictim, 1), nullptr);
  EXPECT_EQ(nat_.broken_invariant(), "");
}

// Ports come and go while sessions are there.
TEST_F(Admission, SharesFollowTheNumberOfVms) {
  EXPECT_EQ(flood(kFlooder, 6000), 6000u);
  nat_->share_among(1);
  EXPECT_EQ(nat_.broken_invariant(), "");
  EXPECT_EQ(flood(kFlooder, 6000), 6000u) << "some of them are there already";
  EXPECT_EQ(sessions_of(*nat_, kFlooder), kCapacity) << "alone, it has the whole table";
  nat_->share_among(2);
  EXPECT_EQ(nat_.broken_invariant(), "");
  EXPECT_NE(open(kVictim, 1), nullptr) << "what another one holds beyond its share yields";
  EXPECT_EQ(nat_.broken_invariant(), "");
}

TEST_F(Admission, AFloodOfSynsToAForwardTakesAQuarterAndNothingOfTheVmsOwn) {
  EXPECT_EQ(flood_with_syns(6000), 6000u);
  EXPECT_EQ(sessions_of(*nat_, kFlooder), kCapacity / 4);
  EXPECT_NE(open(kFlooder, 1), nullptr);
  EXPECT_NE(open(kVictim, 1), nullptr);
  EXPECT_EQ(flood(kFlooder, 2000), 2000u);
  EXPECT_EQ(nat_.broken_invariant(), "");
}

TEST_F(Admission, AssuredSessionsOutliveAllFloods) {
  std::vector<FlowKey> assured;
  for (unsigned i = 0; i < 50; ++i) {
    assured.push_back(open_answered(kFlooder, i)->outbound_key());
    assured.push_back(open_established(kFlooder, i)->outbound_key());
    assured.push_back(open_answered(kVictim, i)->outbound_key());
  }
  flood(kFlooder, 6000);
  flood_with_syns(6000);
  flood(3, 6000);
  flood(4, 6000);
  for (const FlowKey& key : assured) EXPECT_NE(nat_->find(key), nullptr);
  EXPECT_EQ(nat_.broken_invariant(), "");
}

TEST_F(Admission, WithoutHalfOpenSessionsAPortAtItsShareIsRefused) {
  for (unsigned i = 0; i < kCapacity / 2; ++i) ASSERT_NE(open_answered(kFlooder, i), nullptr);
  EXPECT_EQ(nat_.try_open(of_vm(kFlooder, 9000), kRemote, kUdp, {}, kFlooder).verdict, Verdict::SessionLimit);
  EXPECT_EQ(early_dropped(), 0u);
  EXPECT_NE(open(kVictim, 1), nullptr);
}

// Four that hold whatever they are given, with sessions that are answered: the fifth still has its part.
TEST_F(Admission, EachPortIsSureOfItsPartWhoeverHasFilledTheRest) {
  constexpr std::uint32_t kPart = kCapacity / 4 / 4;
  for (const PortIndex port : {1, 3, 4}) {
    unsigned opened = 0;
    while (opened < kCapacity && open_answered(port, opened) != nullptr) ++opened;
    EXPECT_GE(opened, kPart) << port;
  }
  for (unsigned i = 0; i < kPart; ++i) ASSERT_NE(open_answered(kVictim, i), nullptr) << i;
  EXPECT_EQ(nat_->statistics().active, kCapacity);
  EXPECT_EQ(nat_.try_open(of_vm(kVictim, 9000), kRemote, kUdp, {}, kVictim).verdict, Verdict::TableFull);
  EXPECT_EQ(nat_.broken_invariant(), "");
}

TEST_F(Admission, ASessionThatIsClosingOrResetGoesForANewOne) {
  for (const std::uint8_t last : {kFin, kRst}) {
    Nat nat({.capacity = 1});
    Session* session = nat.open(of_vm(1, 1), kRemote, kTcp);
    follow_tcp(*nat, *session, kOut, {100, 0, 0, kSyn}, {});
    follow_tcp(*nat, *session, kIn, {900, 101, 0, kSyn | kAck}, {});
    follow_tcp(*nat, *session, kOut, {101, 901, 0, kAck}, {});
    EXPECT_EQ(nat.try_open(of_vm(1, 2), kRemote).verdict, Verdict::TableFull);
    follow_tcp(*nat, *session, kOut, {101, 901, 0, static_cast<std::uint8_t>(last | kAck)}, {});
    follow_tcp(*nat, *session, kIn, {901, 102, 0, static_cast<std::uint8_t>(last | kAck)}, {});
    EXPECT_EQ(nat.try_open(of_vm(1, 2), kRemote).verdict, Verdict::Opened);
    EXPECT_EQ(nat->statistics().early_dropped, 1u);
  }
}

TEST_F(Admission, TheOneThatHasBeenSilentLongestGoesFirst) {
  Nat nat({.capacity = 3});
  for (unsigned i = 0; i < 3; ++i) nat.open(of_vm(1, i), kRemote, kUdp, at_seconds(30 - 10 * (i % 2)));
  nat.open(of_vm(1, 3), kRemote, kUdp, at_seconds(40));
  EXPECT_EQ(nat->find(FlowKey::of(of_vm(1, 1), kRemote, kUdp)), nullptr);
  EXPECT_EQ(nat->statistics().active, 3u);
}

TEST_F(Admission, WhatTheBurstInHandHasFoundIsNotDropped) {
  Nat nat({.capacity = 2});
  const std::array<Session*, 2> in_play{nat.open(of_vm(1, 1), kRemote), nat.open(of_vm(1, 2), kRemote)};
  nat->spare(in_play);
  EXPECT_EQ(nat.try_open(of_vm(1, 3), kRemote).verdict, Verdict::TableFull);
  nat->spare(std::span{in_play}.first(1));
  EXPECT_EQ(nat.try_open(of_vm(1, 3), kRemote).verdict, Verdict::Opened);
  EXPECT_TRUE(in_play[0]->in_use());
  EXPECT_EQ(nat->find(FlowKey::of(of_vm(1, 1), kRemote, kUdp)), in_play[0]);
}

TEST_F(Admission, AVmWithFewSessionsLosesNoneToOneThatHasMore) {
  for (unsigned i = 0; i < 10; ++i) open(kVictim, i);
  for (const PortIndex port : {1, 3, 4}) flood(port, 3000);
  EXPECT_EQ(sessions_of(*nat_, kVictim), 10u);
}

TEST_F(Admission, ALoneVmHasTheWholeTableAndItsRemotesHalf) {
  Nat nat({.capacity = 100});
  for (unsigned i = 0; i < 200; ++i) nat.try_forward(kService, kServer, spoofed(i), kTcp, kFlooder);
  EXPECT_EQ(sessions_of(*nat, kFlooder), 50u);
  for (unsigned i = 0; i < 80; ++i) {
    Session* session = nat.open(of_vm(kFlooder, i), kRemote, kUdp, {}, kFlooder);
    ASSERT_NE(session, nullptr) << i;
    for (const Direction direction : {kOut, kIn}) count(*session, direction, 60);
  }
  EXPECT_EQ(sessions_of(*nat, kFlooder, kOut), 80u);
  EXPECT_EQ(sessions_of(*nat, kFlooder, kIn), 20u);
  EXPECT_EQ(nat.broken_invariant(), "");
}

TEST_F(Admission, ALimitOfTheOperatorHoldsForBothAllowancesApart) {
  Nat nat({.capacity = 100, .guests = 4}, {.sessions_per_port = 10});
  for (unsigned i = 0; i < 30; ++i) nat.try_forward(kService, kServer, spoofed(i), kTcp, kFlooder);
  EXPECT_EQ(sessions_of(*nat, kFlooder, kIn), 10u);
  for (unsigned i = 0; i < 10; ++i)
    EXPECT_NE(nat.open(of_vm(kFlooder, i), kRemote, kUdp, {}, kFlooder), nullptr);
  const auto dropped = nat->statistics().early_dropped;
  EXPECT_EQ(nat.try_open(of_vm(kFlooder, 11), kRemote, kUdp, {}, kFlooder).verdict, Verdict::SessionLimit);
  EXPECT_EQ(nat->statistics().early_dropped,
            dropped);  // RFC 6888 REQ-11: what the VM has is not ended for it
}

TEST_F(Admission, AFloodOfRemotesDoesNotUseUpTheVmsRateOfNewSessions) {
  Nat nat({.capacity = 1000}, {.new_sessions_per_second = 10});
  for (unsigned i = 0; i < 100; ++i) nat.try_forward(kService, kServer, spoofed(i), kTcp, kFlooder);
  EXPECT_EQ(sessions_of(*nat, kFlooder, kIn), 10u);
  EXPECT_EQ(nat.try_open(of_vm(kFlooder, 1), kRemote, kUdp, {}, kFlooder).verdict, Verdict::Opened);
}

TEST_F(Admission, SpoofedDatagramsToAForwardThatAnswersStayWithinTheRemotesAllowance) {
  for (unsigned i = 0; i < 3000; ++i) {
    Session* session = nat_.try_forward(kService, kServer, spoofed(i), kUdp, kFlooder).session;
    if (session == nullptr) continue;
    for (const Direction direction : {kIn, kOut}) count(*session, direction, 60);
  }
  EXPECT_EQ(sessions_of(*nat_, kFlooder, kIn), kCapacity / 4);
  EXPECT_NE(open(kFlooder, 1), nullptr);
  EXPECT_NE(open(kVictim, 1), nullptr);
}

}  // namespace
}  // namespace vmnat::conntrack
