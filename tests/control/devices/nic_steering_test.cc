// SPDX-License-Identifier: Apache-2.0
// Steering of devices: a real one that keeps its RSS key and table (net_null), and one without RSS (rings)
// whose flow rules are this file's own: what an executable defines itself goes before the library's.
#include "control/devices/nic_steering.h"

#include <cerrno>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_flow.h>

#include "control/devices/device.h"
#include "tests/support/testbed.h"

namespace {

// What the doubles do, and what they were asked for.
struct FlowRules {
  int valid_until = 1000;    // calls
  int created_until = 1000;  // calls
  int validated = 0;
  std::vector<vmnat::control::FlowRule> created;
  int destroyed = 0;
};
FlowRules flow_rules;
bool table_forgets = false;

vmnat::control::FlowRule rule_of(const rte_flow_item* pattern, const rte_flow_action* actions) {
  const auto port_in = [](const void* header, bool is_tcp) {
    return rte_be_to_cpu_16(is_tcp ? static_cast<const rte_flow_item_tcp*>(header)->hdr.dst_port
                                   : static_cast<const rte_flow_item_udp*>(header)->hdr.dst_port);
  };
  EXPECT_EQ(pattern[0].type, RTE_FLOW_ITEM_TYPE_ETH);
  EXPECT_EQ(pattern[1].type, RTE_FLOW_ITEM_TYPE_IPV4);
  EXPECT_EQ(pattern[3].type, RTE_FLOW_ITEM_TYPE_END);
  EXPECT_EQ(actions[0].type, RTE_FLOW_ACTION_TYPE_QUEUE);
  EXPECT_EQ(actions[1].type, RTE_FLOW_ACTION_TYPE_END);
  const bool is_tcp = pattern[2].type == RTE_FLOW_ITEM_TYPE_TCP;
  return {.protocol = is_tcp ? vmnat::net::Protocol::Tcp : vmnat::net::Protocol::Udp,
          .port = port_in(pattern[2].spec, is_tcp),
          .mask = port_in(pattern[2].mask, is_tcp),
          .queue = static_cast<const rte_flow_action_queue*>(actions[0].conf)->index};
}

}  // namespace

extern "C" {

int rte_flow_validate(std::uint16_t, const rte_flow_attr* attributes, const rte_flow_item*,
                      const rte_flow_action*, rte_flow_error* error) {
  EXPECT_EQ(attributes->ingress, 1u);
  if (flow_rules.validated++ < flow_rules.valid_until) return 0;
  error->message = "masks are not for this NIC";
  return -ENOTSUP;
}

rte_flow* rte_flow_create(std::uint16_t, const rte_flow_attr*, const rte_flow_item* pattern,
                          const rte_flow_action* actions, rte_flow_error*) {
  if (static_cast<int>(flow_rules.created.size()) >= flow_rules.created_until) {
    rte_errno = ENOSPC;
    return nullptr;
  }
  flow_rules.created.push_back(rule_of(pattern, actions));
  static char some;
  return reinterpret_cast<rte_flow*>(&some);
}

int rte_flow_destroy(std::uint16_t, rte_flow*, rte_flow_error*) {
  ++flow_rules.destroyed;
  return 0;
}

int rte_eth_dev_rss_reta_query(std::uint16_t port_id, rte_eth_rss_reta_entry64* groups, std::uint16_t size) {
  using Query = int (*)(std::uint16_t, rte_eth_rss_reta_entry64*, std::uint16_t);
  static const auto real = reinterpret_cast<Query>(dlsym(RTLD_NEXT, "rte_eth_dev_rss_reta_query"));
  const int status = real(port_id, groups, size);
  if (table_forgets) groups[0].reta[3] ^= 1;
  return status;
}

}  // extern "C"

namespace vmnat::control {
namespace {

using ::testing::HasSubstr;

class NicSteeringTest : public ::testing::Test {
 protected:
  void SetUp() override {
    test::packet_pool();  // starts the EAL
    flow_rules = {};
    table_forgets = false;
  }
};

Device open_null(unsigned queues) {
  rte_mempool* const pools[] = {test::packet_pool()};
  auto device = Device::open({.name = "uplink", .device = "net_null0,no-rx=1", .queues = queues}, pools);
  if (!device) throw std::runtime_error(to_string(device.error()));
  return std::move(*device);
}

std::vector<std::uint8_t> key_of(const Device& device) {
  std::vector<std::uint8_t> key(40);
  rte_eth_rss_conf conf{.rss_key = key.data(), .rss_key_len = 40};
  EXPECT_EQ(rte_eth_dev_rss_hash_conf_get(device.port_id(), &conf), 0);
  return key;
}

std::vector<std::uint16_t> table_of(const Device& device) {
  rte_eth_rss_reta_entry64 groups[2]{};
  for (auto& group : groups) group.mask = ~std::uint64_t{0};
  EXPECT_EQ(rte_eth_dev_rss_reta_query(device.port_id(), groups, 128), 0);
  std::vector<std::uint16_t> table;
  for (const auto& group : groups) table.insert(table.end(), group.reta, group.reta + 64);
  return table;
}

// Rings with two queues each way: neither RSS nor flow rules of their own.
struct RingDevice {
  RingDevice() {
    static unsigned count = 0;
    const std::string name = "steered" + std::to_string(count++);
    for (unsigned i = 0; i < 4; ++i)
      rings.push_back(rte_ring_create((name + "_" + std::to_string(i)).c_str(), 64, SOCKET_ID_ANY, 0));
    port_id =
        static_cast<std::uint16_t>(rte_eth_from_rings(name.c_str(), rings.data(), 2, rings.data() + 2, 2, 0));
    rte_eth_conf conf{};
    EXPECT_EQ(rte_eth_dev_configure(port_id, 2, 2, &conf), 0);
  }
  ~RingDevice() {
    rte_eth_dev_close(port_id);
    for (rte_ring* ring : rings) rte_ring_free(ring);
  }
  std::vector<rte_ring*> rings;
  std::uint16_t port_id;
};

TEST_F(NicSteeringTest, ADeviceWithRssKeepsKeyAndTableOfThePlan) {
  const Device device = open_null(3);
  EXPECT_EQ(device.rss_table_capacity(), 128);
  const NicSteering steering = steer_replies(device.port_id(), 3, device.rss_table_capacity());
  EXPECT_EQ(steering.way, SteeringWay::Rss);
  EXPECT_EQ(steering.details, "by its RSS on the destination port, 128 table entries");
  const auto plan = plan_rss(40, 128, 3);
  EXPECT_EQ(steering.queues, plan->queues);
  EXPECT_EQ(key_of(device), plan->key);
  EXPECT_EQ(table_of(device), plan->table);
  EXPECT_EQ(flow_rules.validated, 0);
}

TEST_F(NicSteeringTest, ATableThatIsRefusedIsTriedInTheSizeThatTheDeviceHas) {
  const Device device = open_null(2);
  const NicSteering steering = steer_replies(device.port_id(), 2, 512);
  EXPECT_EQ(steering.way, SteeringWay::Rss);
  EXPECT_EQ(table_of(device), plan_rss(40, 128, 2)->table);
}

TEST_F(NicSteeringTest, ADeviceThatDoesNotKeepItsTableGetsFlowRulesAndItsOldKey) {
  const Device device = open_null(2);
  const auto key = key_of(device);
  table_forgets = true;
  EXPECT_EQ(steer_replies(device.port_id(), 2, 128).way, SteeringWay::FlowRules);
  EXPECT_EQ(key_of(device), key);
}

TEST_F(NicSteeringTest, ADeviceWithoutRssGetsTheFlowRulesOfThePlan) {
  const RingDevice device;
  const NicSteering steering = steer_replies(device.port_id, 2, 0);
  EXPECT_EQ(steering.way, SteeringWay::FlowRules);
  const FlowRulePlan plan = plan_flow_rules(2);
  EXPECT_EQ(steering.queues, plan.queues);
  ASSERT_EQ(flow_rules.created.size(), plan.rules.size());
  for (std::size_t i = 0; i < plan.rules.size(); ++i) {
    EXPECT_EQ(flow_rules.created[i].protocol, plan.rules[i].protocol);
    EXPECT_EQ(flow_rules.created[i].port, plan.rules[i].port);
    EXPECT_EQ(flow_rules.created[i].mask, plan.rules[i].mask);
    EXPECT_EQ(flow_rules.created[i].queue, plan.rules[i].queue);
  }
}

TEST_F(NicSteeringTest, NoFlowRuleIsCreatedUnlessAllAreValid) {
  const RingDevice device;
  flow_rules.valid_until = 3;
  const NicSteering steering = steer_replies(device.port_id, 2, 0);
  EXPECT_EQ(steering.way, SteeringWay::Rings);
  EXPECT_TRUE(steering.queues.empty());
  EXPECT_THAT(steering.details, HasSubstr("masks are not for this NIC"));
  EXPECT_TRUE(flow_rules.created.empty());
}

TEST_F(NicSteeringTest, FlowRulesThatWereCreatedGoWhenOneFails) {
  const RingDevice device;
  flow_rules.created_until = 3;
  EXPECT_EQ(steer_replies(device.port_id, 2, 0).way, SteeringWay::Rings);
  EXPECT_EQ(flow_rules.destroyed, 3);
}

TEST_F(NicSteeringTest, OneQueueIsNotSteeredTo) {
  const Device device = open_null(1);
  const NicSteering steering = steer_replies(device.port_id(), 1, 128);
  EXPECT_EQ(steering.way, SteeringWay::Rings);
  EXPECT_EQ(steering.details, "the uplink has one queue");
}

}  // namespace
}  // namespace vmnat::control
