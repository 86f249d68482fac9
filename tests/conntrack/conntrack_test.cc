// SPDX-License-Identifier: Apache-2.0
// Sessions as the dataplane meets them: open, find either way, rewrite, count, expire, show.
#include "conntrack/conntrack.h"

#include <random>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {
namespace {

const net::Endpoint kVm = endpoint("192.168.122.10", 40000);
const net::Endpoint kServer = endpoint("198.51.100.1", 443);

TEST(Conntrack, FindsASessionByBothDirections) {
  Nat nat;
  Session* session = nat.open(kVm, kServer);
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(nat->find(FlowKey::of(kVm, kServer, kUdp)), session);
  EXPECT_EQ(nat->find(FlowKey::of(session->external(), kServer, kUdp)), session);
  EXPECT_EQ(nat->find(FlowKey::of(kVm, kServer, kTcp)), nullptr);
  EXPECT_EQ(nat->find(FlowKey::of(kVm, endpoint("198.51.100.1", 444), kUdp)), nullptr);
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

}  // namespace
}  // namespace vmnat::conntrack
