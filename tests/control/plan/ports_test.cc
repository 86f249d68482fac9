// SPDX-License-Identifier: Apache-2.0
// The ports of a configuration, numbered and spread over the workers.
#include "control/plan/ports.h"

#include <gtest/gtest.h>
#include <map>

#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

TEST(PortPlan, AStartNumbersTheUplinkFirstAndThenPortsInTheOrderOfTheFile) {
  const auto config = configured(kTwoNetworks);
  const auto ports = plan_ports(config, 2);
  ASSERT_EQ(ports.size(), 4u);
  EXPECT_EQ(ports[0].name, "uplink");
  EXPECT_EQ(ports[0].network, dataplane::kNoNetwork);
  EXPECT_EQ(ports[0].config, nullptr);
  for (std::size_t i = 1; i < ports.size(); ++i) EXPECT_EQ(ports[i].name, "vm" + std::to_string(i));
  EXPECT_EQ(ports[2].network, 0);
  EXPECT_EQ(ports[3].network, 1);
  EXPECT_EQ(*ports[3].config, config.networks[1].ports[0]);
}

TEST(PortPlan, SpreadsPortsOverTheWorkersAndGivesTheUplinkToTheFirst) {
  const auto config = configured(kTwoNetworks);
  const auto owners = [&](unsigned workers) {
    std::vector<unsigned> list;
    for (const auto& port : plan_ports(config, workers)) list.push_back(port.owner);
    return list;
  };
  EXPECT_EQ(owners(1), (std::vector<unsigned>{0, 0, 0, 0}));
  EXPECT_EQ(owners(2), (std::vector<unsigned>{0, 1, 0, 1}));
  EXPECT_EQ(owners(3), (std::vector<unsigned>{0, 1, 2, 0}));
}

TEST(PortPlan, PortsOfATrunkHaveOneWorkerWhoeverOfThemIsThere) {
  const auto owners = [](const std::string& ports, const char* uplink) {
    auto config = configured("  - {name: a, address: 10.1.0.1/24, ports: [" + ports + "]}\n");
    config.uplink.device.name = uplink;
    config.uplink.vlan = 100;
    std::map<std::string, WorkerIndex> by_name;
    for (const auto& port : plan_ports(config, 4)) by_name[port.name] = port.owner;
    return by_name;
  };
  const auto lab = [](int vlan) {
    return "{name: lab" + std::to_string(vlan) + ", device: net_tap0, vlan: " + std::to_string(vlan) + "}";
  };
  const auto all = owners(lab(10) + ", " + lab(11) + ", " + lab(12), "eth0");
  EXPECT_EQ(all.at("lab11"), all.at("lab10"));
  EXPECT_EQ(all.at("lab12"), all.at("lab10"));
  EXPECT_EQ(owners("{name: vm1, device: veth1}, " + lab(12), "eth0").at("lab12"), all.at("lab10"))
      << "others have left, or stand before it";
  const auto with_uplink = owners(lab(10) + ", " + lab(11), "net_tap0,iface=x");
  EXPECT_EQ(with_uplink.at("uplink"), 0);
  EXPECT_EQ(with_uplink.at("lab10"), 0);
  EXPECT_EQ(with_uplink.at("lab11"), 0);
}

}  // namespace
}  // namespace vmnat::control
