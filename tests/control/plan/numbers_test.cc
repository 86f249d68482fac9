// SPDX-License-Identifier: Apache-2.0
#include "control/plan/numbers.h"

#include <gtest/gtest.h>

#include "control/plan/gateway_plan.h"
#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

TEST(NumberBook, WhoStaysKeepsItsNumberAndWhoComesGetsTheLowestFreeOne) {
  NumberBook<PortIndex> book(4);
  EXPECT_EQ(book.give("a"), 0);
  EXPECT_EQ(book.give("b"), 1);
  EXPECT_EQ(book.give("a"), 0) << "which it has";
  book.retire("a");
  EXPECT_EQ(book.of("a"), std::nullopt);
  EXPECT_EQ(book.give("c"), 2) << "0 is still referred to";
  EXPECT_EQ(book.give("a"), 3) << "come back as another one";
  book.release(0);
  EXPECT_EQ(book.give("d"), 0);
  EXPECT_EQ(book.of("b"), 1);
}

TEST(NumberBook, GivesNoneBeyondItsMost) {
  NumberBook<PortIndex> book(2);
  EXPECT_TRUE(book.give("a"));
  EXPECT_TRUE(book.give("b"));
  EXPECT_FALSE(book.give("c"));
  book.retire("a");
  EXPECT_FALSE(book.give("c")) << "it is not free yet";
  book.release(0);
  EXPECT_EQ(book.give("c"), 0);
  EXPECT_EQ(book.bound(), 2u);
}

const std::string kRed = "  - {name: red, address: 192.168.122.1/24, dhcp: {},\n     ports: [";
const std::string kVm1 = "{name: vm1, vhost_user: /run/vm1.sock}";
const std::string kVm2 = "{name: vm2, vhost_user: /run/vm2.sock}";
const std::string kVm3 = "{name: vm3, vhost_user: /run/vm3.sock}";
const std::string kBlue = "  - {name: blue, address: 192.168.5.1/24, ports: [{name: vm4, device: veth4}]}\n";

struct GatewayPlanChange : testing::Test {
  static std::string red(const std::string& ports) { return kRed + ports + "]}\n"; }
  // What becomes of red with vm1 and vm2, and blue.
  void change_to(const std::string& networks) {
    auto planned = plan_change(running, configured(networks));
    ASSERT_TRUE(planned) << to_string(planned.error());
    next = std::move(*planned);
    change = difference(running, next);
  }
  [[nodiscard]] std::vector<std::string> names(const std::vector<PortIndex>& ports,
                                               const GatewayPlan& plan) const {
    std::vector<std::string> list;
    for (const PortIndex port : ports) list.push_back(plan.ports[port].name);
    return list;
  }
  using Names = std::vector<std::string>;
  GatewayPlan running = plan_gateway(configured(red(kVm1 + ", " + kVm2) + kBlue), 2), next;
  TopologyChange change;
};

const std::string kVm2b = "{name: vm2b, vhost_user: /run/vm2b.sock, migrates_from: vm2}";

TEST_F(GatewayPlanChange, APortToMigrateToIsOfItsOriginsWorkerWheneverItComes) {
  change_to(red(kVm1 + ", " + kVm2 + ", " + kVm2b) + kBlue);
  EXPECT_EQ(names(change.ports_come, next), Names{"vm2b"});
  EXPECT_EQ(change.ports_left, std::vector<PortIndex>{});
  EXPECT_EQ(next.ports[4].owner, next.ports[2].owner);
  change_to(red(kVm2b + ", " + kVm1 + ", " + kVm2) + kBlue);
  EXPECT_EQ(next.ports[4].owner, next.ports[2].owner) << "named before its origin";
}

TEST_F(GatewayPlanChange, APortToMigrateToComesAnewWithItsOriginAndWithAnother) {
  running = plan_gateway(configured(red(kVm1 + ", " + kVm2 + ", " + kVm2b) + kBlue), 2);
  change_to(red(kVm1 + ", {name: vm2, vhost_user: /run/vm2.sock, queues: 2}, " +
                "{name: vm2b, vhost_user: /run/vm2b.sock, queues: 2, migrates_from: vm2}") +
            kBlue);
  EXPECT_EQ(names(change.ports_left, running), (Names{"vm2", "vm2b"}));
  EXPECT_EQ(names(change.ports_come, next), (Names{"vm2", "vm2b"}));
  EXPECT_EQ(next.ports[*next.numbers.ports.of("vm2b")].owner,
            next.ports[*next.numbers.ports.of("vm2")].owner);

  const std::string from_vm1 = "{name: vm2b, vhost_user: /run/vm2b.sock, migrates_from: vm1}";
  change_to(red(kVm1 + ", " + kVm2 + ", " + from_vm1) + kBlue);
  EXPECT_EQ(names(change.ports_left, running), Names{"vm2b"});
  EXPECT_EQ(next.ports[*next.numbers.ports.of("vm2b")].owner, next.ports[1].owner);
  EXPECT_NE(next.ports[1].owner, next.ports[2].owner);
}

TEST_F(GatewayPlanChange, APortThatLeavesAndOneThatComesMoveNobody) {
  change_to(kBlue + red(kVm3 + ", " + kVm2));
  EXPECT_EQ(names(change.ports_left, running), Names{"vm1"});
  EXPECT_EQ(change.ports_come, std::vector<PortIndex>{4});
  EXPECT_EQ(next.ports[4].name, "vm3");
  EXPECT_EQ(next.ports[4].owner, 0) << "by its number";
  EXPECT_EQ(next.ports[2].name, "vm2");
  EXPECT_EQ(next.ports[3].name, "vm4");
  EXPECT_FALSE(next.ports[1].exists);
  EXPECT_EQ(next.config.networks[0].name, "red") << "whatever the order of the file";
  EXPECT_EQ(next.config.networks[1].name, "blue");
  EXPECT_TRUE(change.networks_left.empty() && change.networks_come.empty() && change.networks_moved.empty());
}

TEST_F(GatewayPlanChange, APortWhoseDeviceOrNetworkIsAnotherLeavesAndComesWithAnotherNumber) {
  for (const std::string& vm1 :
       {std::string("{name: vm1, vhost_user: /run/other.sock}"),
        kVm1.substr(0, kVm1.size() - 1) + ", queues: 2}", kVm1.substr(0, kVm1.size() - 1) + ", mode: server}",
        std::string("{name: vm1, device: veth1}")}) {
    change_to(red(vm1 + ", " + kVm2) + kBlue);
    EXPECT_EQ(change.ports_left, std::vector<PortIndex>{1}) << vm1;
    EXPECT_EQ(change.ports_come, std::vector<PortIndex>{4}) << vm1;
  }
  change_to(red(kVm2) + "  - {name: blue, address: 192.168.5.1/24, ports: [{name: vm4, device: veth4}, " +
            kVm1 + "]}\n");
  EXPECT_EQ(change.ports_left, std::vector<PortIndex>{1}) << "it has moved to another network";
  EXPECT_EQ(next.ports[4].network, 1);
}

TEST_F(GatewayPlanChange, WhatIsNotTheDevicesChangesInPlace) {
  change_to(red(kVm1.substr(0, kVm1.size() - 1) + ", mac: 52:54:00:00:00:07, guard: off}, " + kVm2) + kBlue);
  EXPECT_TRUE(change.ports_left.empty() && change.ports_come.empty());
  EXPECT_EQ(next.ports[1].config->mac, (net::MacAddr{{0x52, 0x54, 0, 0, 0, 7}}));
}

TEST_F(GatewayPlanChange, ANetworkThatLeavesTakesItsPortsAlongAndItsNumberStaysTaken) {
  change_to(kBlue + "  - {name: green, address: 192.168.122.1/24}\n");
  EXPECT_EQ(change.networks_left, std::vector<NetworkIndex>{0});
  EXPECT_EQ(change.networks_come, std::vector<NetworkIndex>{2});
  EXPECT_EQ(names(change.ports_left, running), (Names{"vm1", "vm2"}));
  EXPECT_TRUE(next.config.networks[0].name.empty());
  EXPECT_TRUE(planned_addresses(next.config.networks[0]).empty());
}

TEST_F(GatewayPlanChange, SaysWhereTheGatewayIsAnotherAndWhichNetworkHasNoWayOutAnyMore) {
  change_to(
      "  - {name: red, address: 192.168.123.1/24, dhcp: {}, ports: [" + kVm1 + ", " + kVm2 +
      "]}\n  - {name: blue, address: 192.168.5.1/24, forward: none, ports: [{name: vm4, device: veth4}]}\n");
  EXPECT_EQ(change.networks_moved, std::vector<NetworkIndex>{0});
  EXPECT_EQ(change.networks_shut, std::vector<NetworkIndex>{1});
  EXPECT_TRUE(change.ports_left.empty());
}

TEST_F(GatewayPlanChange, ThereIsNoNumberWhereAllAreTaken) {
  std::string ports = kVm1;
  for (std::size_t i = 0; i < kMostPorts - 3; ++i)
    ports += ", {name: n" + std::to_string(i) + ", device: veth_" + std::to_string(i) + "}";
  const auto full = configured(red(ports));
  const auto planned = plan_change(running, full);  // with the numbers of vm2 and vm4, who leave
  ASSERT_FALSE(planned);
  EXPECT_EQ(planned.error().what.substr(0, 7), "port n1");
}

}  // namespace
}  // namespace vmnat::control
