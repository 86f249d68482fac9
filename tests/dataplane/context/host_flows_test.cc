// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/host_flows.h"

#include <gtest/gtest.h>

namespace vmnat::dataplane {
namespace {

using conntrack::FlowKey;
using net::Ipv4Addr;
using net::L4Port;
using net::Protocol;
using std::chrono::seconds;

constexpr Ipv4Addr kGateway = Ipv4Addr::of(192, 168, 122, 1), kVm = Ipv4Addr::of(192, 168, 122, 10);

FlowKey flow(std::uint16_t own, std::uint16_t of_vm, Protocol protocol = Protocol::Udp) {
  return FlowKey::of({kGateway, L4Port::from_host(own)}, {kVm, L4Port::from_host(of_vm)}, protocol);
}

TEST(HostFlows, KnowsWhatWasNotedAndNothingThatDiffersInAnyPart) {
  HostFlows flows;
  ASSERT_TRUE(flows.has_memory());
  EXPECT_TRUE(flows.note(flow(40000, 53), Time{}));
  EXPECT_TRUE(flows.has(flow(40000, 53), Time{}));
  EXPECT_FALSE(flows.has(flow(40001, 53), Time{}));
  EXPECT_FALSE(flows.has(flow(40000, 54), Time{}));
  EXPECT_FALSE(flows.has(flow(40000, 53, Protocol::Tcp), Time{}));
  FlowKey of_another_vm = flow(40000, 53);
  of_another_vm.remote += 1;
  EXPECT_FALSE(flows.has(of_another_vm, Time{}));
}

TEST(HostFlows, ForgetsAFlowWhenTheHostHasBeenSilentForItsProtocolsTime) {
  const struct {
    Protocol protocol;
    seconds lifetime;
  } rows[] = {{Protocol::Tcp, seconds(7440)},
              {Protocol::Udp, seconds(120)},
              {Protocol::Icmp, seconds(60)},
              {static_cast<Protocol>(47), seconds(600)}};
  for (const auto& [protocol, lifetime] : rows) {
    HostFlows flows;
    const FlowKey key = flow(1, 2, protocol);
    const Time start{seconds(1000)};
    flows.note(key, start);
    EXPECT_TRUE(flows.has(key, start + lifetime)) << lifetime.count();
    EXPECT_FALSE(flows.has(key, start + lifetime + seconds(1))) << lifetime.count();
    flows.note(key, start + lifetime);
    EXPECT_TRUE(flows.has(key, start + 2 * lifetime)) << "the host has spoken again";
  }
}

TEST(HostFlows, AFlowWithoutRoomTakesThePlaceOfTheOneUsedLeastRecently) {
  HostFlows flows;
  std::vector<FlowKey> displacing;
  unsigned noted = 0;
  Time now{};
  for (std::uint16_t own = 1024; displacing.empty(); ++own, ++noted) {
    now += seconds(0) + Ticks(1);
    ASSERT_LT(own, 65535) << "no bucket was ever full";
    if (!flows.note(flow(own, 53, Protocol::Tcp), now)) displacing.push_back(flow(own, 53, Protocol::Tcp));
  }
  EXPECT_TRUE(flows.has(displacing.front(), now));
  unsigned kept = 0;
  for (unsigned i = 0; i <= noted; ++i)
    kept += flows.has(flow(static_cast<std::uint16_t>(1024 + i), 53, Protocol::Tcp), now) ? 1 : 0;
  EXPECT_EQ(kept, noted - 1) << "all but one of the " << noted;
  EXPECT_GT(noted, 2048u) << "buckets of the first flows fill evenly";
}

TEST(HostFlows, WhatHasEndedMakesRoomFirst) {
  HostFlows flows;
  for (std::uint16_t own = 1024; own < 30000; ++own) flows.note(flow(own, 53), Time{});
  const Time later{seconds(121)};
  for (std::uint16_t own = 30000; own < 34000; ++own)
    EXPECT_TRUE(flows.note(flow(own, 53, Protocol::Tcp), later)) << own;
}

}  // namespace
}  // namespace vmnat::dataplane
