// SPDX-License-Identifier: Apache-2.0
// The plans against DPDK's own software RSS, and against the arithmetic of masks.
#include "control/plan/steering_plan.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <rte_thash.h>
#include <set>

namespace vmnat::control {
namespace {

constexpr unsigned kPorts = 65536;
constexpr unsigned kBlockPorts = conntrack::kBlockPorts;

std::uint32_t rss_hash(const std::vector<std::uint8_t>& key, std::uint32_t source, std::uint32_t destination,
                       std::uint16_t source_port, std::uint16_t destination_port) {
  std::uint32_t tuple[] = {source, destination,
                           static_cast<std::uint32_t>(source_port) << 16 | destination_port};
  return rte_softrss(tuple, 3, key.data());
}

TEST(RssPlan, ANicPutsEveryPortOnItsBlocksQueueWhateverTheRemote) {
  std::mt19937 random(1);
  for (const unsigned table_size : {2u, 64u, 128u, 512u, 1024u, 4096u})
    for (const unsigned queues : {2u, 3u, 4u}) {
      const auto plan = plan_rss(40, table_size, queues);
      ASSERT_TRUE(plan);
      ASSERT_EQ(plan->table.size(), table_size);
      for (unsigned port = 0; port < kPorts; ++port) {
        const auto hash =
            rss_hash(plan->key, static_cast<std::uint32_t>(random()), static_cast<std::uint32_t>(random()),
                     static_cast<std::uint16_t>(random()), static_cast<std::uint16_t>(port));
        ASSERT_EQ(plan->table[hash & (table_size - 1)], plan->queues[port / kBlockPorts])
            << "port " << port << ", table of " << table_size << ", " << queues << " queues";
      }
    }
}

TEST(RssPlan, TheKeysOfAllNicsWorkAlike) {
  for (const unsigned key_bytes : {16u, 40u, 52u, 64u}) {
    const auto plan = plan_rss(key_bytes, 128, 2);
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->key.size(), key_bytes);
    EXPECT_EQ(rss_hash(plan->key, 7, 8, 9, 0b1001110'001000000) & 127, 0b0111001u);
  }
}

TEST(RssPlan, IsNotMadeForTablesAndKeysThatCannotDoIt) {
  EXPECT_FALSE(plan_rss(40, 0, 2));
  EXPECT_FALSE(plan_rss(40, 1, 2));
  EXPECT_FALSE(plan_rss(40, 96, 2));
  EXPECT_FALSE(plan_rss(15, 128, 2));
  EXPECT_FALSE(plan_rss(0, 128, 2)) << "a device that does not say";
}

TEST(RssPlan, QueuesShareThePortsEvenly) {
  for (const unsigned queues : {2u, 3u, 4u}) {
    const auto plan = plan_rss(40, 128, queues);
    // All, and what Linux guests choose from.
    for (const auto& [first, last] : {std::pair{1024u, 65535u}, std::pair{32768u, 60999u}}) {
      std::vector<unsigned> ports(queues);
      for (unsigned port = first; port <= last; ++port) ++ports[plan->queues[port / kBlockPorts]];
      const auto [least, most] = std::ranges::minmax(ports);
      EXPECT_LE(most - least, 1024u) << queues << " queues, from " << first;
    }
  }
}

TEST(FlowRulePlan, ExactlyOneRuleOfEachProtocolTakesEachPortToItsBlocksQueue) {
  for (const unsigned queues : {2u, 3u, 4u, 6u}) {
    const FlowRulePlan plan = plan_flow_rules(queues);
    std::vector<unsigned> ports(queues);
    for (unsigned port = 0; port < kPorts; ++port)
      for (const net::Protocol protocol : {net::Protocol::Tcp, net::Protocol::Udp}) {
        unsigned matches = 0;
        for (const FlowRule& rule : plan.rules) {
          if (rule.protocol != protocol || (port & rule.mask) != rule.port) continue;
          ++matches;
          ++ports[rule.queue];
          ASSERT_EQ(rule.queue, plan.queues[port / kBlockPorts]);
        }
        ASSERT_EQ(matches, 1u) << "port " << port;
      }
    const auto [least, most] = std::ranges::minmax(ports);
    EXPECT_LE(most, least * 4 / 3) << queues;
  }
}

TEST(FlowRulePlan, TakesOneRuleAQueueAndProtocolWhenTheyAreAPowerOfTwo) {
  EXPECT_EQ(plan_flow_rules(2).rules.size(), 4u);
  EXPECT_EQ(plan_flow_rules(4).rules.size(), 8u);
  EXPECT_EQ(plan_flow_rules(3).rules.size(), 32u);
}

TEST(Homes, AreWithTheWorkerThatPollsTheQueue) {
  const BlockQueues queues = plan_rss(40, 128, 3)->queues;
  const auto homes = plan_homes(queues, {.name = "uplink", .owner = 1}, 2);
  ASSERT_EQ(homes.size(), queues.size());
  for (std::size_t block = 0; block < homes.size(); ++block) EXPECT_EQ(homes[block], (1 + queues[block]) % 2);
  EXPECT_TRUE(plan_homes({}, {.name = "uplink"}, 2).empty()) << "rings do it";
}

}  // namespace
}  // namespace vmnat::control
