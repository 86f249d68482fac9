// SPDX-License-Identifier: Apache-2.0
// Plans for several uplinks: numbers, addresses, and what a move of a network changes.
#include <algorithm>
#include <gtest/gtest.h>
#include <stdexcept>

#include "control/config/load.h"
#include "control/plan/gateway_plan.h"
#include "control/plan/initial_state.h"
#include "control/plan/limits.h"

namespace vmnat::control {
namespace {

const auto kWan1 = net::Ipv4Addr::of(203, 0, 113, 2), kWan2 = net::Ipv4Addr::of(192, 0, 2, 2),
           kPool = net::Ipv4Addr::of(100, 64, 0, 1), kPair = net::Ipv4Addr::of(100, 64, 0, 2);

// Networks a and c prefer wan1, b prefers wan2. b has a pool, c is forwarded to.
config::Config configured(const std::string& second = "address: 192.0.2.2/24, gateway: 192.0.2.1") {
  const auto loaded = config::load_config_text(
      "uplinks:\n"
      "- {name: wan1, device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, limit: {out: {rate: "
      "1M}}}\n"
      "- {name: wan2, device: eth1, " +
          second +
          ", mtu: 1400, networks: [b], limit: {out: {rate: 2M}}}\n"
          "networks:\n"
          "- {name: a, address: 10.1.0.1/24, ports: [{name: vm1, device: v1}]}\n"
          "- {name: b, address: 10.2.0.1/24, ports: [{name: vm2, device: v2}],\n"
          "   nat: {addresses: [100.64.0.1], static: [{internal: 10.2.0.9, external: 100.64.0.2}]}}\n"
          "- {name: c, address: 10.3.0.1/24, nat: {forwards: [{protocol: tcp, port: 80, to: "
          "10.3.0.5:80}]}}\n",
      "test.yaml");
  if (loaded) return *loaded;
  throw std::runtime_error(to_string(loaded.error().front()));
}

std::uint8_t uplinks_of(const NatPlan& plan, net::Ipv4Addr address) {
  return plan.uplinks_of_external[plan.external->index_of(address).value()];
}

TEST(UplinkPlan, UplinksHaveTheLowestNumbers) {
  const GatewayPlan plan = plan_gateway(configured(), 2);
  ASSERT_EQ(plan.ports.size(), 4u);
  EXPECT_EQ(plan.ports[0].name, "wan1");
  EXPECT_EQ(plan.ports[1].name, "wan2");
  EXPECT_TRUE(plan.ports[1].is_uplink);
  EXPECT_EQ(plan.ports[1].mtu, 1400);
  EXPECT_FALSE(plan.ports[2].is_uplink);
  EXPECT_EQ(plan.devices[1].device, "eth1");
  EXPECT_TRUE(plan.devices[0].receives_replies);
  EXPECT_FALSE(plan.devices[1].receives_replies);
  EXPECT_EQ(plan.ways, (NetworkWays{0, 1, 0}));
}

TEST(UplinkPlan, ANetworkWithoutAddressesHasThatOfTheUplinkThatItIsOn) {
  const config::Config config = configured();
  const NatPlan plan = plan_nat(config, nullptr, {0, 1, 1});
  const auto index = [&](net::Ipv4Addr address) { return plan.external->index_of(address).value(); };
  EXPECT_EQ(plan.policies[0].addresses, std::vector{index(kWan1)});
  EXPECT_EQ(plan.policies[1].addresses, std::vector{index(kPool)});
  EXPECT_EQ(plan.policies[2].addresses, std::vector{index(kWan2)});
  EXPECT_EQ(plan.external->ports(index(kWan2)), plan.external->ports(index(kWan1)))
      << "a network may come to either at any time";
}

TEST(UplinkPlan, FramesForAnAddressComeByItsUplinkOrThatOfItsNetwork) {
  const NatPlan plan = plan_nat(configured(), nullptr, {0, 1, 0});
  EXPECT_EQ(uplinks_of(plan, kWan1), 0b01);
  EXPECT_EQ(uplinks_of(plan, kWan2), 0b10);
  EXPECT_EQ(uplinks_of(plan, kPool), 0b10);
  EXPECT_EQ(uplinks_of(plan, kPair), 0b10);
  const NatPlan moved = plan_nat(configured(), plan.external.get(), {0, 0, 0});
  EXPECT_EQ(uplinks_of(moved, kWan2), 0b10);
  EXPECT_EQ(uplinks_of(moved, kPool), 0b01);
  EXPECT_EQ(uplinks_of(moved, kPair), 0b01);
}

TEST(UplinkPlan, AMoveEndsTheSessionsOfTheAddressThatItLeavesAndNoOthers) {
  const NatPlan former = plan_nat(configured(), nullptr, {0, 1, 0});
  const NatPlan wanted = plan_nat(configured(), former.external.get(), {1, 0, 0});
  const DeparturePlan departures = plan_departures(former, wanted, {});
  ASSERT_EQ(departures.addresses.size(), 1u);
  EXPECT_EQ(departures.addresses[0], (dataplane::DepartingSessions::Address{0, kWan1}));
  EXPECT_TRUE(departures.ports.empty());
  const NatPlan closing = plan_closing(former, wanted);
  EXPECT_TRUE(closing.policies[0].leaves(former.external->index_of(kWan1).value()));
  EXPECT_GT(closing.external->ports(closing.external->index_of(kWan2).value())->block_count(), 0u)
      << "sessions open by the new address at once";
}

TEST(UplinkPlan, ForwardsFollowTheirNetwork) {
  const NatPlan former = plan_nat(configured(), nullptr, {0, 1, 0});
  const NatPlan wanted = plan_nat(configured(), former.external.get(), {0, 1, 1});
  const auto is_at = [](const NatPlan& plan, net::Ipv4Addr address) {
    const auto forwards = plan_forwards(plan.config);
    return std::ranges::any_of(
        forwards, [=](const ForwardPlan& forward) { return forward.external.address == address; });
  };
  EXPECT_TRUE(is_at(former, kWan1) && !is_at(former, kWan2));
  EXPECT_TRUE(!is_at(wanted, kWan1) && is_at(wanted, kWan2));
  EXPECT_EQ(plan_departures(former, wanted, {}).ports.size(), 2u) << "the port on each of the two";
}

TEST(UplinkPlan, WhatDhcpGivesHasAPlaceOfItsOwn) {
  const NatPlan plan = plan_nat(configured("address: dhcp"), nullptr, {0, 1, 1});
  EXPECT_EQ(plan.external->address(plan.policies[2].addresses.front()), rented_place(1));
  RentedAddresses rented;
  EXPECT_EQ(with_rented(plan.external, rented)->index_of(rented_place(1)), std::nullopt);
  rented.set(1, kWan2);
  EXPECT_EQ(with_rented(plan.external, rented)->index_of(kWan2), plan.policies[2].addresses.front());
  EXPECT_EQ(external_addresses_now(plan.config.networks[2], rented), std::vector{kWan2});
  EXPECT_TRUE(external_addresses_now(plan.config.networks[2], {}).empty());
  const NatPlan moved = plan_nat(configured("address: dhcp"), plan.external.get(), {0, 1, 0});
  EXPECT_EQ(plan_departures(plan, moved, rented).addresses,
            (std::vector<dataplane::DepartingSessions::Address>{{2, kWan2}}));
}

TEST(UplinkPlan, TheFirstStateHasTheUplinksAndWhereNetworksAre) {
  const GatewayPlan plan = plan_gateway(configured(), 1);
  const auto state = initial_state(plan.config, plan.ports, plan.ways);
  ASSERT_EQ(state.uplink_count, 2);
  EXPECT_EQ(net::to_string(state.uplinks[1].address), "192.0.2.2/24");
  EXPECT_EQ(state.uplink_port(0), 0);
  EXPECT_EQ(state.uplink_port(1), 1);
  EXPECT_EQ(state.networks[0].most_mss, 1460);
  EXPECT_EQ(state.networks[1].most_mss, 1360) << "by the MTU of its uplink";
}

TEST(UplinkPlan, PortsHaveTheLimitOfTheUplinkThatTheirNetworkIsOn) {
  const GatewayPlan plan = plan_gateway(configured(), 1);
  auto state = initial_state(plan.config, plan.ports, plan.ways);
  set_limits(plan.config, plan.ports, {.now = 0, .hz = 1000}, state);
  const auto rate = [&](PortIndex port) {
    return state.limits->ports[port].out.uplink->rates().bytes.per_second;
  };
  EXPECT_EQ(rate(2), 125'000u);
  EXPECT_EQ(rate(3), 250'000u);
  const auto* const before = state.limits->ports[3].out.uplink;
  state.networks[0].uplink = 1;
  set_limits(plan.config, plan.ports, {.now = 5, .hz = 1000}, state);
  EXPECT_EQ(state.limits->ports[2].out.uplink, before) << "they share it";
  EXPECT_EQ(state.limits->ports[3].out.uplink, before);
}

TEST(UplinkPlan, TheOnlyUplinkIsPlannedAsEver) {
  const auto loaded = config::load_config_text(
      "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}\n"
      "networks: [{name: a, address: 10.1.0.1/24}]\n",
      "test.yaml");
  ASSERT_TRUE(loaded);
  const GatewayPlan plan = plan_gateway(*loaded, 1);
  EXPECT_EQ(plan.ports[0].name, "uplink");
  EXPECT_EQ(plan.nat.config, plan.config);
  EXPECT_EQ(plan.devices[0].name, "uplink");
}

}  // namespace
}  // namespace vmnat::control
