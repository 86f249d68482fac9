// SPDX-License-Identifier: Apache-2.0
// The plan of flows: tuples never repeat, stay in their prefixes, and do not depend on how many are asked
// for.
#include "bench/generator/flows.h"

#include <gtest/gtest.h>
#include <set>
#include <stdexcept>

namespace vmnat::bench {
namespace {

using net::Ipv4Addr;

FlowSpace small_space() {
  return {.network = {Ipv4Addr::of(192, 168, 122, 1), 24},
          .hosts = 250,
          .endpoints = 1000,
          .remotes = {Ipv4Addr::of(198, 19, 0, 0), 16}};
}

net::Endpoint endpoint(std::uint8_t last, std::uint16_t port) {
  return {Ipv4Addr::of(198, 18, 0, last), net::L4Port::from_host(port)};
}

TEST(Permutation, GivesEveryValueOnce) {
  for (const std::uint64_t size : {1u, 2u, 3u, 64u, 1000u, 4097u}) {
    const Permutation permutation(size, 7);
    std::set<std::uint64_t> values;
    for (std::uint64_t i = 0; i < size; ++i) values.insert(permutation.at(i));
    EXPECT_EQ(values.size(), size);
    EXPECT_EQ(*values.rbegin(), size - 1);
  }
}

TEST(Permutation, DependsOnTheSeed) {
  unsigned same = 0;
  for (std::uint64_t i = 0; i < 1000; ++i)
    same += Permutation(1000, 1).at(i) == Permutation(1000, 2).at(i) ? 1 : 0;
  EXPECT_LT(same, 20u);
}

TEST(FlowPlan, HasNoTupleTwice) {
  const FlowPlan plan(small_space());
  std::set<std::pair<net::Endpoint, net::Endpoint>> tuples;
  for (FlowNumber flow = 0; flow < 5000; ++flow) tuples.emplace(plan.internal(flow), plan.remote(flow));
  EXPECT_EQ(tuples.size(), 5000u);
}

TEST(FlowPlan, ReusesInternalEndpointsBeyondTheirNumber) {
  const FlowPlan plan(small_space());
  std::set<net::Endpoint> internal;
  for (FlowNumber flow = 0; flow < 5000; ++flow) internal.insert(plan.internal(flow));
  EXPECT_EQ(internal.size(), 1000u);
  EXPECT_EQ(plan.internal(7), plan.internal(1007));
  EXPECT_NE(plan.remote(7), plan.remote(1007));
}

TEST(FlowPlan, StaysInItsPrefixesAndLeavesTheGatewayOut) {
  FlowSpace space = small_space();
  space.hosts = 253;
  space.endpoints = 60000;
  const FlowPlan plan(space);
  std::set<Ipv4Addr> hosts;
  for (FlowNumber flow = 0; flow < 60000; ++flow) {
    const net::Endpoint internal = plan.internal(flow);
    hosts.insert(internal.address);
    ASSERT_TRUE(space.network.contains(internal.address));
    ASSERT_GE(internal.port.host(), 1024);
    ASSERT_TRUE(space.remotes.contains(plan.remote(flow).address));
    ASSERT_GE(plan.remote(flow).port.host(), 1024);
  }
  EXPECT_EQ(hosts.size(), 253u);
  EXPECT_FALSE(hosts.contains(space.network.address));
  EXPECT_FALSE(hosts.contains(space.network.first()));
  EXPECT_FALSE(hosts.contains(space.network.broadcast()));
}

TEST(FlowPlan, ItsHostsLiveAtTheVmPortsInTurn) {
  FlowSpace space = small_space();
  space.network.address = Ipv4Addr::of(192, 168, 122, 3);
  space.vm_ports = 3;
  const FlowPlan plan(space);
  const struct {
    std::uint8_t last;
    unsigned port;
  } hosts[] = {{1, 0}, {2, 1}, {4, 2}, {5, 0}, {254, 0}};  // the gateway is none
  for (const auto& host : hosts)
    for (unsigned port = 0; port < 3; ++port)
      EXPECT_EQ(plan.lives_at(Ipv4Addr::of(192, 168, 122, host.last), port), port == host.port) << +host.last;
  for (FlowNumber flow = 0; flow < 5000; ++flow)
    ASSERT_TRUE(plan.lives_at(plan.internal(flow).address, plan.vm_port(flow)));
}

TEST(FlowPlan, NobodyLivesAtAnyPortWithTheAddressOfNoHost) {
  const FlowPlan plan(small_space());
  for (const std::uint8_t last : {0, 1, 255})  // the network's own, the gateway's, the broadcast address
    EXPECT_FALSE(plan.lives_at(Ipv4Addr::of(192, 168, 122, last), 0));
  EXPECT_FALSE(plan.lives_at(Ipv4Addr::of(192, 168, 123, 9), 0));
  EXPECT_TRUE(plan.lives_at(Ipv4Addr::of(192, 168, 122, 254), 0));  // of a host that is not in use
}

TEST(FlowPlan, TheFlowsAreTheSameForAnyNumberOfVmPorts) {
  FlowSpace space = small_space();
  space.vm_ports = 16;
  const FlowPlan one(small_space()), many(space);
  for (FlowNumber flow = 0; flow < 5000; ++flow) ASSERT_EQ(one.outbound(flow), many.outbound(flow));
}

TEST(FlowPlan, RefusesASpaceThatIsTooSmall) {
  FlowSpace space = small_space();
  space.hosts = 254;  // 256 addresses less network, broadcast and gateway are 253
  EXPECT_THROW(FlowPlan{space}, std::invalid_argument);
  space = small_space();
  space.hosts = 15;
  space.vm_ports = 16;
  EXPECT_THROW(FlowPlan{space}, std::invalid_argument);
  space = small_space();
  space.hosts = 1;
  space.endpoints = 64513;
  EXPECT_THROW(FlowPlan{space}, std::invalid_argument);
  space = small_space();
  space.remotes = {Ipv4Addr::of(192, 168, 0, 0), 16};
  EXPECT_THROW(FlowPlan{space}, std::invalid_argument);
}

TEST(FlowTable, NoticesAMappingThatChanges) {
  FlowTable table;
  table.reserve_flows(2);
  EXPECT_FALSE(table.is_learned(1));
  EXPECT_TRUE(table.record_external(1, endpoint(2, 5000)));
  EXPECT_TRUE(table.record_external(1, endpoint(2, 5000)));
  EXPECT_FALSE(table.record_external(1, endpoint(2, 5001)));
  EXPECT_EQ(table.external(1), endpoint(2, 5000));
}

TEST(FlowTable, CountsTuplesThatTwoFlowsShare) {
  FlowSpace space = small_space();
  space.remotes = {Ipv4Addr::of(198, 19, 0, 0), 32};
  const FlowPlan plan(space);
  ASSERT_EQ(plan.most_flows(), 64512u);
  FlowTable table;
  table.reserve_flows(64513);
  // One external port towards every remote endpoint is lawful overload: the tuples differ.
  for (FlowNumber flow = 0; flow < 64512; ++flow) table.record_external(flow, endpoint(2, 5000));
  EXPECT_EQ(table.count_shared_tuples(plan), 0u);
  table.record_external(64512, endpoint(2, 5000));  // one flow more than there are remote endpoints
  EXPECT_EQ(table.count_shared_tuples(plan), 1u);
}

TEST(FlowTable, CountsMappingsThatDependOnTheRemote) {
  FlowTable table;
  table.reserve_flows(5);
  for (FlowNumber flow = 0; flow < 4; ++flow)
    table.record_external(flow, endpoint(2, static_cast<std::uint16_t>(5000 + flow % 2)));
  EXPECT_EQ(table.count_dependent_mappings(2), 0u);
  table.record_external(4, endpoint(2, 7777));
  EXPECT_EQ(table.count_dependent_mappings(2), 1u);
}

}  // namespace
}  // namespace vmnat::bench
