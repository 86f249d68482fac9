// SPDX-License-Identifier: Apache-2.0
// From the ports of one process to those of the next, by name.
#include "control/gateway/port_totals.h"

#include <gtest/gtest.h>

namespace vmnat::control {
namespace {

using dataplane::DropReason;

std::vector<PortPlan> ports_named(const std::vector<std::string>& names) {
  std::vector<PortPlan> ports;
  for (const std::string& name : names) ports.push_back({.name = name});
  return ports;
}

PortTotals counted(std::uint64_t rx, std::uint64_t tx, std::uint64_t runts = 0) {
  PortTotals totals{.rx_packets = rx, .rx_bytes = 100 * rx, .tx_packets = tx, .tx_bytes = 200 * tx};
  totals.drops[index_of(DropReason::Runt)] = runts;
  return totals;
}

Totals kept(const std::vector<std::string>& names, const std::vector<PortTotals>& told) {
  Totals totals;
  put_ports(ports_named(names), told, totals);
  return totals;
}

TEST(PortAccounts, GoOnByName) {
  const Totals carried =
      kept({"uplink", "vm1", "vm2"}, {counted(1, 2), counted(10, 20, 3), counted(100, 200)});
  const PortAccounts accounts(ports_named({"uplink", "vm0", "vm2", "vm1"}), carried);
  const auto told = accounts.told({counted(5, 5), counted(5, 5), counted(0, 0), counted(5, 5, 1)});
  EXPECT_EQ(told[0], counted(6, 7));
  EXPECT_EQ(told[1], counted(5, 5)) << "nobody had its name";
  EXPECT_EQ(told[2], counted(100, 200));
  EXPECT_EQ(told[3], counted(15, 25, 4));
}

TEST(PortAccounts, APortThatComesStartsAtZero) {
  PortAccounts accounts(ports_named({"uplink", "vm1"}),
                        kept({"uplink", "vm1"}, {counted(1, 1), counted(7, 7)}));
  accounts.begin(1, counted(10, 10, 2));  // another vm1
  accounts.begin(3, {});
  const auto told = accounts.told({counted(0, 0), counted(11, 12, 2), counted(4, 4), counted(9, 9)});
  EXPECT_EQ(told[1], counted(1, 2, 0));
  EXPECT_EQ(told[2], counted(4, 4));
  EXPECT_EQ(told[3], counted(9, 9));
}

TEST(PortAccounts, AVersionWithOtherReasonsIsReadByItsNames) {
  Totals totals{.counters = {},
                .columns = {"drop.of_the_future", "drop.runt", "rx_packets", "rx_minutes"},
                .ports = {{"vm1", {9, 2, 7, 8}}}};
  const auto told = PortAccounts(ports_named({"vm1"}), totals).told({PortTotals{}});
  PortTotals expected{.rx_packets = 7};
  expected.drops[index_of(DropReason::Runt)] = 2;
  EXPECT_EQ(told[0], expected);
}

TEST(PortAccounts, OnlyPortsAndCountsThatThereAreAreKept) {
  std::vector<PortPlan> ports = ports_named({"uplink", "gone", "vm1", "silent"});
  ports[1].exists = false;
  Totals totals;
  put_ports(ports, {counted(0, 3), counted(0, 5), counted(0, 4, 1), counted(0, 0)}, totals);
  EXPECT_EQ(totals.columns, (std::vector<std::string>{"tx_packets", "tx_bytes", "drop.runt"}));
  EXPECT_EQ(totals.ports, (std::map<std::string, std::vector<std::uint64_t>>{{"uplink", {3, 600, 0}},
                                                                             {"vm1", {4, 800, 1}}}));
}

}  // namespace
}  // namespace vmnat::control
