// SPDX-License-Identifier: Apache-2.0
// Where CPUs and devices are, read from a made-up sysfs, and what is put where, for made-up machines.
#include "control/devices/numa.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numaif.h>

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

class Sysfs : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "vmnat-sysfs-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root = name;
    put("devices/system/node/node0/cpulist", "0-3,8");
    put("devices/system/node/node1/cpulist", "4-7,9-10");
    put("devices/system/node/node2/cpulist", "");  // memory without CPUs
    put("devices/system/node/possible", "0-2");
    put("bus/pci/devices/0000:3b:00.0/numa_node", "1");
    put("bus/pci/devices/0000:00:03.0/numa_node", "-1");
    put("class/net/eth7/device/numa_node", "1");
    put("class/net/veth0/mtu", "1500");
  }
  void TearDown() override { fs::remove_all(root); }
  void put(const std::string& path, const std::string& text) const {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text << '\n';
  }
  fs::path root;
};

TEST_F(Sysfs, NamesTheNodeOfEachCpu) {
  const NumaNodes nodes = NumaNodes::read(root);
  for (const unsigned cpu : {0u, 3u, 8u}) EXPECT_EQ(nodes.of_cpu(cpu), 0) << cpu;
  for (const unsigned cpu : {4u, 7u, 9u, 10u}) EXPECT_EQ(nodes.of_cpu(cpu), 1) << cpu;
  EXPECT_EQ(nodes.of_cpu(11), kNoNode);
  EXPECT_EQ(nodes.of_cpus(std::vector{4u, 10u}), 1);
  EXPECT_EQ(nodes.of_cpus(std::vector{3u, 4u}), kNoNode);
  EXPECT_EQ(NumaNodes::read(root / "class").of_cpu(0), kNoNode) << "a kernel without NUMA";
}

TEST_F(Sysfs, NamesTheNodeOfPciDevicesAndOfInterfacesThatAreOne) {
  EXPECT_EQ(numa_node_of_device("0000:3b:00.0", root), 1);
  EXPECT_EQ(numa_node_of_device("3b:00.0,mprq_en=1", root), 1);
  EXPECT_EQ(numa_node_of_device("0000:00:03.0", root), kNoNode);
  EXPECT_EQ(numa_node_of_device("0000:99:00.0", root), kNoNode);
  EXPECT_EQ(numa_node_of_device("eth7", root), 1);
  EXPECT_EQ(numa_node_of_device("veth0", root), kNoNode);
  EXPECT_EQ(numa_node_of_device("net_null0,no-rx=1", root), kNoNode);
  EXPECT_EQ(numa_node_of_device("", root), kNoNode);
}

TEST(Pools, AreOneForEachNodeThatHasWorkersAndShareTheBuffers) {
  const PoolsPlan plan = plan_pools(std::vector{1, 0, 1, 3}, 3, 40001, Placeable::Yes);
  ASSERT_EQ(plan.pools.size(), 3u);
  for (const PoolPlan& pool : plan.pools) EXPECT_EQ(pool.buffers, 13333u);
  EXPECT_THAT(plan.by_worker, ElementsAre(1, 0, 1, 2));
  EXPECT_EQ(plan.of_control, 2u);
  EXPECT_EQ(to_string(plan),
            "packet buffers: 13333 on NUMA node 0 for worker 1; 13333 on NUMA node 1 for workers 0, 2; "
            "13333 on NUMA node 3 for worker 3");
}

TEST(Pools, ControlTakesTheFirstWhenItsOwnNodeHasNone) {
  EXPECT_EQ(plan_pools(std::vector{1, 2}, 0, 100, Placeable::Yes).of_control, 0u);
  EXPECT_EQ(plan_pools(std::vector{1, 2}, kNoNode, 100, Placeable::Yes).of_control, 0u);
}

TEST(Pools, AreOneWithoutNodesAndWithoutHugepages) {
  const PoolsPlan without_nodes = plan_pools(std::vector{kNoNode, kNoNode}, kNoNode, 100, Placeable::Yes);
  EXPECT_EQ(to_string(without_nodes), "packet buffers: 100 for workers 0, 1");
  const PoolsPlan ordinary_pages = plan_pools(std::vector{0, 1}, 1, 100, Placeable::No);
  EXPECT_EQ(to_string(ordinary_pages), "packet buffers: 100 for workers 0, 1");
  EXPECT_THAT(ordinary_pages.by_worker, ElementsAre(0, 0));
  EXPECT_EQ(ordinary_pages.of_control, 0u);
}

// The thread's memory policy; -1 where the kernel does not tell (a container may forbid it).
int memory_policy() {
  int policy = 0;
  return get_mempolicy(&policy, nullptr, 0, nullptr, 0) == 0 ? policy : -1;
}

TEST(PreferNode, HoldsWhileItLives) {
  const int before = memory_policy();
  if (before < 0) GTEST_SKIP() << "the kernel does not tell memory policies";
  {
    const PreferNode near(0);
    EXPECT_EQ(memory_policy(), MPOL_PREFERRED);
  }
  EXPECT_EQ(memory_policy(), before);
  const PreferNode nowhere(kNoNode);
  EXPECT_EQ(memory_policy(), before);
}

}  // namespace
}  // namespace vmnat::control
