// SPDX-License-Identifier: Apache-2.0
// The forwarding state that a configuration begins with.
#include "control/plan/initial_state.h"

#include <gtest/gtest.h>

#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

TEST(InitialState, TheGatewaysMacIsTheConfiguredOneOrAlwaysTheSameForAName) {
  const auto config = configured(kTwoNetworks);
  EXPECT_EQ(net::to_string(gateway_mac(config.networks[1])), "52:54:00:00:02:01");
  const net::MacAddr red = gateway_mac(config.networks[0]);
  EXPECT_EQ(net::to_string(red), "52:54:00:f4:80:dc")
      << "guests have it in their ARP caches: never change it";
  config::Network other = config.networks[0];
  other.name = "green";
  EXPECT_NE(gateway_mac(other), red);
  other.name = "red";
  other.address = config.networks[1].address;
  EXPECT_EQ(gateway_mac(other), red) << "the name alone decides";
}

TEST(InitialState, TheFirstStateHoldsPortsDownAndNetworksAsConfigured) {
  const auto config = configured(kTwoNetworks);
  const auto state = initial_state(config, plan_ports(config, 1));
  EXPECT_EQ(net::to_string(state.uplinks[0].address), "203.0.113.2/24");
  EXPECT_EQ(net::to_string(state.uplinks[0].gateway), "203.0.113.1");
  EXPECT_EQ(state.uplinks[0].mtu, 1400);
  EXPECT_TRUE(state.uplinks[0].gateway_mac.is_zero());
  ASSERT_EQ(state.networks.size(), 2u);
  EXPECT_TRUE(state.networks[0].has_way_out);
  EXPECT_TRUE(state.networks[0].dhcp);
  EXPECT_EQ(state.networks[0].ports, (std::vector<PortIndex>{1, 2}));
  EXPECT_FALSE(state.networks[1].has_way_out);
  EXPECT_FALSE(state.networks[1].dhcp);
  for (const auto& port : state.ports) EXPECT_TRUE(port.group == 0 && !port.is_alone);
  EXPECT_EQ(state.networks[0].most_mss, 1360) << "the uplink's MTU less 40";
  EXPECT_EQ(state.networks[0].exhaustion_answer, dataplane::ExhaustionAnswer::Prohibited);
  EXPECT_EQ(state.networks[1].ports, std::vector<PortIndex>{3});
  ASSERT_EQ(state.ports.size(), 4u);
  for (const auto& port : state.ports) EXPECT_FALSE(port.up);
}

// By port, of the groups that a network's keys and its ports' make.
std::vector<unsigned> groups_of(const std::string& network_keys, const std::string& ports,
                                std::vector<bool>* alone = nullptr) {
  const auto config =
      configured("  - {name: red, address: 192.168.122.1/24" + network_keys + ", ports: [" + ports + "]}\n");
  const auto state = initial_state(config, plan_ports(config, 1));
  std::vector<unsigned> groups;
  for (std::size_t i = 1; i < state.ports.size(); ++i) {
    groups.push_back(state.ports[i].group);
    if (alone != nullptr) alone->push_back(state.ports[i].is_alone);
  }
  return groups;
}

TEST(InitialState, PortsOfOneGroupHaveOneNumberThoseOfNoneHaveNought) {
  std::vector<bool> alone;
  EXPECT_EQ(groups_of("",
                      "{name: a, device: a}, {name: b, device: b, group: web}, {name: c, device: c}, "
                      "{name: d, device: d, group: web}, {name: e, device: e, group: lab}",
                      &alone),
            (std::vector<unsigned>{0, 3, 0, 3, 6}));
  EXPECT_EQ(alone, (std::vector{false, false, false, false, true}));
}

TEST(InitialState, IsolatedPortsAreAloneUnlessTheyAreInAGroupAndTheHostIsInAll) {
  std::vector<bool> alone;
  EXPECT_EQ(groups_of(", isolated_ports: true, host: {interface: vmnat0}",
                      "{name: a, device: a}, {name: b, device: b, group: web}, {name: c, device: c}, "
                      "{name: d, device: d, group: web}",
                      &alone),
            (std::vector<unsigned>{2, 3, 4, 3, dataplane::kEveryGroup}));
  EXPECT_EQ(alone, (std::vector{true, false, true, false, false}));
}

TEST(InitialState, AVmIsInOneGroupAtWhicheverOfItsPortsItIs) {
  EXPECT_EQ(groups_of("",
                      "{name: a, vhost_user: /a.sock, group: web}, {name: b, vhost_user: /b.sock, "
                      "migrates_from: a}, {name: c, device: c}"),
            (std::vector<unsigned>{2, 2, 0}));
}

}  // namespace
}  // namespace vmnat::control
