// SPDX-License-Identifier: Apache-2.0
// The ports of a configuration, numbered and spread over the workers.
#include "control/plan/ports.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace vmnat::control
