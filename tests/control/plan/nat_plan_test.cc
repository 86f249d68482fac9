// SPDX-License-Identifier: Apache-2.0
// From one plan of the NAT to the next: what holds in between, and which sessions end.
#include "control/plan/nat_plan.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "tests/control/plan/configured.h"

namespace vmnat::control {
namespace {

net::Ipv4Addr pool(unsigned last) {
  return net::Ipv4Addr::of(203, 0, 113, static_cast<std::uint8_t>(last));
}
net::L4Port port(unsigned number) {
  return net::L4Port::from_host(static_cast<std::uint16_t>(number));
}

struct Step {
  Step(const std::string& before, const std::string& after)
      : former(plan_nat(with(before))),
        wanted(plan_nat(with(after), former.external.get())),
        closing(plan_closing(former, wanted)),
        departures(plan_departures(former, wanted, {})) {}
  static config::Config with(const std::string& nat) {
    return configured("  - {name: a, address: 10.1.0.1/24, nat: {" + nat + "}}\n");
  }
  NatPlan former, wanted, closing;
  DeparturePlan departures;
};

std::string forward(unsigned number, const std::string& to) {
  return "forwards: [{protocol: tcp, port: " + std::to_string(number) + ", to: \"" + to + "\"}]";
}

TEST(NatPlan, AnAddressThatGoesIsClosedUntilItsSessionsHaveEndedAndTheNewOneServesAtOnce) {
  const Step step("addresses: [203.0.113.8]", "addresses: [203.0.113.9]");
  const auto gone = *step.former.external->index_of(pool(8)), come = *step.wanted.external->index_of(pool(9));
  ASSERT_TRUE(step.closing.external->index_of(pool(8))) << "its sessions are translated until they end";
  EXPECT_EQ(step.closing.external->ports(gone)->block_count(), 0u);
  EXPECT_FALSE(step.closing.external->is_draining(gone));
  EXPECT_EQ(step.closing.policies[0].addresses, std::vector{come});
  EXPECT_TRUE(step.closing.policies[0].leaves(gone));
  EXPECT_FALSE(step.wanted.policies[0].leaves(gone));
  EXPECT_EQ(step.wanted.external->index_of(pool(8)), std::nullopt);
  ASSERT_EQ(step.departures.addresses.size(), 1u);
  EXPECT_EQ(step.departures.addresses[0], (dataplane::DepartingSessions::Address{0, pool(8)}));
  EXPECT_TRUE(step.departures.ports.empty());
}

TEST(NatPlan, PortsThatAreAllowedAnewWaitUntilTheForwardsSessionsHaveEnded) {
  const Step step("addresses: [203.0.113.8], " + forward(8080, "10.1.0.5:80"),
                  "addresses: [203.0.113.8], reserved_ports: [5000]");
  const auto index = *step.former.external->index_of(pool(8));
  EXPECT_FALSE(step.closing.external->is_allowed(index, port(8080)));
  EXPECT_FALSE(step.closing.external->is_allowed(index, port(5000)));
  EXPECT_TRUE(step.wanted.external->is_allowed(index, port(8080)));
  ASSERT_EQ(step.departures.ports.size(), 1u);
  EXPECT_EQ(step.departures.ports[0].external, net::Endpoint(pool(8), port(8080)));
  EXPECT_EQ(step.departures.ports[0].staying, net::Endpoint{}) << "all of them end";
}

TEST(NatPlan, AForwardTakesItsPortFromAllButTheVmThatItLeadsTo) {
  const net::Endpoint web{net::Ipv4Addr::of(10, 1, 0, 6), port(80)};
  for (const std::string& before : {std::string{}, ", " + forward(8080, "10.1.0.5:80")}) {
    const Step step("addresses: [203.0.113.8]" + before,
                    "addresses: [203.0.113.8], " + forward(8080, "10.1.0.6:80"));
    ASSERT_EQ(step.departures.ports.size(), 1u);
    EXPECT_EQ(step.departures.ports[0].staying, web);
    EXPECT_TRUE(
        common_forwards(plan_forwards(step.former.config), plan_forwards(step.wanted.config)).empty());
  }
}

TEST(NatPlan, WhatStaysEndsNothing) {
  const std::string forwards = ", " + forward(8080, "10.1.0.5:80");
  for (const auto& [before, after] :
       {std::pair{"203.0.113.8", "203.0.113.9, 203.0.113.8"},
        std::pair{"203.0.113.8-203.0.113.9", "203.0.113.8-203.0.113.9], drain: [203.0.113.9"}}) {
    const Step step("addresses: [" + std::string(before) + "]" + forwards,
                    "addresses: [" + std::string(after) + "]" + forwards);
    EXPECT_TRUE(step.departures.addresses.empty());
    const bool has_more = step.wanted.address_lists[0].size() > step.former.address_lists[0].size();
    EXPECT_EQ(step.departures.ports.size(), has_more ? 1u : 0u) << "the forward is on the new address, too";
    EXPECT_EQ(common_forwards(plan_forwards(step.former.config), plan_forwards(step.wanted.config)).size(),
              step.former.address_lists[0].size());
  }
}

TEST(NatPlan, AnAddressThatAnotherNetworkKeepsIsLostByTheOneAlone) {
  const auto config = [](const std::string& of_a) {
    return configured("  - {name: a, address: 10.1.0.1/24, nat: {addresses: [" + of_a +
                      "]}}\n  - {name: b, address: 10.2.0.1/24, nat: {addresses: [203.0.113.8]}}\n");
  };
  const NatPlan former = plan_nat(config("203.0.113.8, 203.0.113.9"));
  const NatPlan wanted = plan_nat(config("203.0.113.9"), former.external.get());
  const NatPlan closing = plan_closing(former, wanted);
  const auto shared = *former.external->index_of(pool(8));
  EXPECT_TRUE(closing.policies[0].leaves(shared));
  EXPECT_FALSE(closing.policies[1].leaves(shared));
  EXPECT_GT(closing.external->ports(shared)->block_count(), 0u);
  ASSERT_EQ(plan_departures(former, wanted, {}).addresses.size(), 1u);
}

TEST(NatPlan, MasqueradeFollowsTheUplinksAddress) {
  const auto config = [](const std::string& address) {
    return *config::load_config_text(
        "uplink: {device: eth0, address: " + address +
            "/24, gateway: 203.0.113.1}\nnetworks: [{name: a, address: 10.1.0.1/24}]\n",
        "test.yaml");
  };
  const NatPlan former = plan_nat(config("203.0.113.2"));
  const NatPlan wanted = plan_nat(config("203.0.113.3"), former.external.get());
  EXPECT_EQ(wanted.external->index_of(pool(2)), std::nullopt);
  EXPECT_EQ(wanted.policies[0].addresses, std::vector{*wanted.external->index_of(pool(3))});
  EXPECT_EQ(plan_departures(former, wanted, {}).addresses[0].address, pool(2));
}

// 1000 forwards on 16 addresses, then one more.
TEST(NatPlan, AThousandForwardsArePlannedAndOneMoreEndsNothingElse) {
  const auto config = [](unsigned count) {
    std::string forwards;
    for (unsigned i = 0; i < count; ++i)
      forwards += "{protocol: tcp, address: 203.0.113." + std::to_string(16 + i % 16) +
                  ", port: " + std::to_string(2000 + i) + ", to: \"10.1.0." + std::to_string(2 + i % 200) +
                  ":80\"}, ";
    return Step::with("addresses: [203.0.113.16-203.0.113.31], forwards: [" + forwards + "]");
  };
  const NatPlan former = plan_nat(config(1000));
  const NatPlan wanted = plan_nat(config(1001), former.external.get());
  EXPECT_EQ(plan_forwards(wanted.config).size(), 1001u);
  EXPECT_EQ(plan_departures(former, wanted, {}).ports.size(), 1u);
  unsigned changed = 0;
  for (unsigned i = 0; i < wanted.external->size(); ++i)
    changed += wanted.external->ports(i) != former.external->ports(i);
  EXPECT_EQ(changed, 1u) << "workers look at one address";
}

}  // namespace
}  // namespace vmnat::control
