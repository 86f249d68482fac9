// SPDX-License-Identifier: Apache-2.0
// What DPDK is started with, for machines that need not exist.
#include "control/devices/eal.h"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::uint64_t kMebibyte = 1 << 20;

struct EalPlanTest : ::testing::Test {
  Machine machine{.cpus = {0, 1, 2, 3}, .free_hugepage_bytes = 1024 * kMebibyte};
  config::Config config{
      .uplink = {.device = {.name = "eth0"}},
      .networks = {{.name = "a", .ports = {{.name = "vm1", .vhost_user = "/run/vm1.sock"}}}}};

  EalPlan plan() { return plan_eal(config, machine).value(); }
  Error refusal() {
    const auto planned = plan_eal(config, machine);
    return planned ? Error{"", "it was not refused"} : planned.error();
  }
};

TEST_F(EalPlanTest, OneWorkerOnTheLastCpuAndControlOnTheOthers) {
  EXPECT_THAT(plan().worker_cpus, ElementsAre(3u));
  EXPECT_THAT(plan().arguments, Contains("--lcores=0@(0,1,2),1@3"));
}

TEST_F(EalPlanTest, TheWorkerIsOnTheUplinksNumaNodeWhenThereIsAChoice) {
  machine.numa = NumaNodes({{0, 0}, {1, 0}, {2, 1}, {3, 1}});
  machine.uplink_node = 0;
  EXPECT_THAT(plan().worker_cpus, ElementsAre(1u));
  EXPECT_THAT(plan().worker_nodes, ElementsAre(0));
  EXPECT_EQ(plan().control_node, kNoNode) << "its CPUs are on both";
  machine.uplink_node = 2;
  EXPECT_THAT(plan().worker_cpus, ElementsAre(3u)) << "this process may not use that node's";
  machine.uplink_node = 0;
  config.dataplane.workers = {3, 0};
  EXPECT_THAT(plan().worker_cpus, ElementsAre(3u, 0u)) << "the file says";
  EXPECT_THAT(plan().worker_nodes, ElementsAre(1, 0));
  config.dataplane.control_cpu = 2;
  EXPECT_EQ(plan().control_node, 1);
}

TEST_F(EalPlanTest, WorkersInTheOrderOfTheFile) {
  config.dataplane.workers = {2, 1};
  EXPECT_THAT(plan().worker_cpus, ElementsAre(2u, 1u));
  EXPECT_THAT(plan().arguments, Contains("--lcores=0@(0,3),1@2,2@1"));
}

TEST_F(EalPlanTest, ControlSharesTheOnlyCpu) {
  machine.cpus = {5};
  EXPECT_THAT(plan().arguments, Contains("--lcores=0@(5),1@5"));
}

TEST_F(EalPlanTest, ControlRunsWhereTheFileSays) {
  config.dataplane.control_cpu = 1;
  EXPECT_THAT(plan().arguments, Contains("--lcores=0@(1),1@3"));
}

TEST_F(EalPlanTest, CpusThatTheProcessMayNotUseAreRefusedByKeyAndNumber) {
  config.dataplane.workers = {1, 7};
  EXPECT_EQ(refusal(),
            (Error{"dataplane.workers", "CPU 7 is not available to this process; it may run on 0, 1, 2, 3"}));
  config.dataplane.workers = {};
  config.dataplane.control_cpu = 9;
  EXPECT_EQ(refusal(), (Error{"dataplane.control_cpu", "CPU 9 is not available to this process"}));
}

TEST_F(EalPlanTest, HugepagesAreUsedWhenEnoughAreFreeAndLeaveNothingBehind) {
  config.dataplane.memory = config::ByteSize::mebibytes(512);
  EXPECT_TRUE(plan().uses_hugepages);
  EXPECT_THAT(plan().arguments, Contains("--in-memory"));
  EXPECT_THAT(plan().arguments, Not(Contains("--no-huge")));
  EXPECT_THAT(plan().arguments, Contains("-m512"));
  EXPECT_THAT(plan().notes, IsEmpty());
}

TEST_F(EalPlanTest, WithoutEnoughHugepagesItRunsOnOrdinaryPagesAndSaysSo) {
  machine.free_hugepage_bytes = 511 * kMebibyte;
  const EalPlan without = plan();
  EXPECT_FALSE(without.uses_hugepages);
  EXPECT_THAT(without.arguments, Contains("--no-huge"));
  EXPECT_THAT(without.arguments, Not(Contains("--in-memory")));
  EXPECT_THAT(without.notes, ElementsAre("511 MiB of hugepages are free, dataplane.memory asks for 512 MiB: "
                                         "running on ordinary pages, slower"));
}

TEST_F(EalPlanTest, RequiredHugepagesThatAreNotThereAreRefusedWithWhatToDo) {
  config.dataplane.hugepages = config::Hugepages::Required;
  EXPECT_TRUE(plan().uses_hugepages);
  machine.free_hugepage_bytes = 0;
  EXPECT_EQ(refusal().where, "dataplane.hugepages");
  EXPECT_THAT(refusal().what, HasSubstr("sysctl vm.nr_hugepages=257"));
}

TEST_F(EalPlanTest, HugepagesThatAreOffAreNotUsedNorMissed) {
  config.dataplane.hugepages = config::Hugepages::Off;
  EXPECT_FALSE(plan().uses_hugepages);
  EXPECT_THAT(plan().notes, IsEmpty());
}

TEST_F(EalPlanTest, SessionTablesInOrdinaryPagesAreSaid) {
  machine.has_transparent_hugepages = false;
  EXPECT_THAT(plan().notes, ElementsAre(HasSubstr("transparent huge pages are off")));
}

TEST_F(EalPlanTest, OnlyPciDevicesOfTheFileAreTouched) {
  EXPECT_THAT(plan().arguments, Contains("--no-pci"));
  EXPECT_THAT(plan().arguments, Contains("--iova-mode=va"));
  config.uplink.device.name = "0000:3b:00.0";
  config.networks[0].ports.push_back({.name = "vm2", .device = {.name = "0000:3b:00.1"}});
  EXPECT_THAT(plan().arguments, Contains("--allow=0000:3b:00.0"));
  EXPECT_THAT(plan().arguments, Contains("--allow=0000:3b:00.1"));
  EXPECT_THAT(plan().arguments, Not(Contains("--no-pci")));
}

TEST_F(EalPlanTest, LinksOfABondAreDevicesOfTheFile) {
  config.uplink.device.name = "net_bonding0,mode=1,slave=0000:3b:00.0,slave=3b:00.1";
  EXPECT_THAT(plan().arguments, Contains("--allow=0000:3b:00.0"));
  EXPECT_THAT(plan().arguments, Contains("--allow=3b:00.1"));
  EXPECT_THAT(plan().arguments, Not(Contains("--no-pci")));
  config.uplink.device.name = "net_bonding0,mode=1,slave=net_tap0,slave=net_tap1";
  EXPECT_THAT(plan().arguments, Contains("--no-pci"));
}

TEST_F(EalPlanTest, TelemetryIsOffUnlessTheFileAsksForIt) {
  EXPECT_THAT(plan().arguments, Contains("--no-telemetry"));
  config.dataplane.eal = {"--telemetry"};
  EXPECT_THAT(plan().arguments, Not(Contains("--no-telemetry")));
}

TEST_F(EalPlanTest, ArgumentsOfTheFileComeLastAndVerbatim) {
  config.dataplane.eal = {"--file-prefix=x", "--log-level=8"};
  const auto arguments = plan().arguments;
  EXPECT_EQ(arguments.front(), "vmnatd");
  EXPECT_EQ(std::vector(arguments.end() - 2, arguments.end()), config.dataplane.eal);
}

TEST_F(EalPlanTest, ThisMachineHasCpusInAscendingOrder) {
  const Machine here = this_machine({});
  ASSERT_FALSE(here.cpus.empty());
  EXPECT_TRUE(std::ranges::is_sorted(here.cpus));
}

}  // namespace
}  // namespace vmnat::control
