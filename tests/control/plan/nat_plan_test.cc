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
  EXPECT_TRUE(step.departures.ports[0].staying.empty()) << "all of them end";
}

TEST(NatPlan, AForwardTakesItsPortFromAllButTheVmThatItLeadsTo) {
  const net::Endpoint web{net::Ipv4Addr::of(10, 1, 0, 6), port(80)};
  for (const std::string& before : {std::string{}, ", " + forward(8080, "10.1.0.5:80")}) {
    const Step step("addresses: [203.0.113.8]" + before,
                    "addresses: [203.0.113.8], " + forward(8080, "10.1.0.6:80"));
    ASSERT_EQ(step.departures.ports.size(), 1u);
    EXPECT_EQ(step.departures.ports[0].staying, (std::vector<dataplane::ForwardRule>{{{{}, 0}, {web}}}));
    EXPECT_TRUE(
        common_forwards(plan_forwards(step.former.config), plan_forwards(step.wanted.config)).empty());
  }
}

TEST(NatPlan, ARangeThatGrowsEndsNothingOnThePortsThatItHad) {
  const auto range = [](const std::string& ports) {
    return "forwards: [{protocol: tcp, port: " + ports + ", to: 10.1.0.5:80}]";
  };
  EXPECT_EQ(Step(range("8000-8009"), range("8000-8019")).departures.ports.size(), 10u);
  EXPECT_EQ(Step(range("8000-8009"), range("8000-8004")).departures.ports.size(), 5u);
  EXPECT_EQ(Step(range("8000-8009"), range("8001-8010")).departures.ports.size(), 11u)
      << "each leads elsewhere";
}

TEST(NatPlan, OfAForwardsSessionsThoseGoOnWhoseRemotesAreLedToTheSameVm) {
  const auto servers = [](const std::string& to, const std::string& from) {
    return "forwards: [{protocol: tcp, port: 80, to: [" + to + "], from: " + from + "}]";
  };
  const Step step(servers("'10.1.0.5:80', '10.1.0.6:80'", "any"), servers("'10.1.0.5:80'", "198.51.0.0/16"));
  const dataplane::DepartingSessions departing(step.departures.addresses, step.departures.ports);
  const auto ends = [&](net::Ipv4Addr vm, net::Ipv4Addr remote) {
    conntrack::Session session;
    session.open({{vm, port(80)}, {pool(2), port(80)}, {remote, port(5000)}, net::Protocol::Tcp, 0},
                 conntrack::SessionState::Established, 0, {});
    return departing.include(session);
  };
  const auto first = net::Ipv4Addr::of(10, 1, 0, 5), second = net::Ipv4Addr::of(10, 1, 0, 6);
  EXPECT_FALSE(ends(first, net::Ipv4Addr::of(198, 51, 100, 7)));
  EXPECT_TRUE(ends(first, net::Ipv4Addr::of(192, 0, 2, 1))) << "the forward is not for it any more";
  EXPECT_TRUE(ends(second, net::Ipv4Addr::of(198, 51, 100, 7)));
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

std::string own_address(unsigned vm, unsigned external) {
  return "static: [{internal: 10.1.0." + std::to_string(vm) + ", external: 203.0.113." +
         std::to_string(external) + "}]";
}

TEST(NatPlan, AVmsOwnAddressHasAnIndexAndNoPorts) {
  const NatPlan plan = plan_nat(Step::with("addresses: [203.0.113.8], " + own_address(5, 20)));
  const auto own = *plan.external->index_of(pool(20));
  EXPECT_EQ(plan.external->ports(own)->block_count(), 0u);
  EXPECT_EQ(plan.policies[0].addresses, std::vector{*plan.external->index_of(pool(8))});
  EXPECT_TRUE(plan_static_nat(configured("  - {name: a, address: 10.1.0.1/24, forward: none}\n")).empty());
}

TEST(NatPlan, AVmsOwnAddressThatComesServesAtOnceAndEndsNothing) {
  const Step step("addresses: [203.0.113.8]", "addresses: [203.0.113.8], " + own_address(5, 20));
  EXPECT_TRUE(step.departures.is_empty());
  const auto pairs = closing_pairs(step.former, step.wanted);
  ASSERT_EQ(pairs.size(), 1u);
  EXPECT_EQ(pairs[0], (dataplane::AddressPair{net::Ipv4Addr::of(10, 1, 0, 5), pool(20), 0, false}));
}

TEST(NatPlan, AnAddressThatAnotherVmHadOpensNothingUntilTheSessionsOfThenHaveEnded) {
  for (const std::string& before :
       {own_address(6, 20), std::string{"addresses: [203.0.113.8, 203.0.113.20]"}}) {
    const Step step(before, own_address(5, 20) + ", addresses: [203.0.113.8]");
    const auto pairs = closing_pairs(step.former, step.wanted);
    ASSERT_EQ(pairs.size(), 1u);
    EXPECT_TRUE(pairs[0].is_draining);
    EXPECT_EQ(
        std::ranges::count(step.departures.addresses, dataplane::DepartingSessions::Address{0, pool(20)}), 1);
    const auto index = *step.closing.external->index_of(pool(20));
    EXPECT_EQ(step.closing.external->ports(index)->block_count(), 0u);
  }
}

TEST(NatPlan, AnAddressThatGoesFromAVmIntoThePoolIsGivenToNobodyBeforeItsSessionsHaveEnded) {
  const Step step(own_address(5, 20), "addresses: [203.0.113.20]");
  EXPECT_TRUE(closing_pairs(step.former, step.wanted).empty());
  ASSERT_FALSE(step.departures.addresses.empty());
  const auto index = *step.closing.external->index_of(pool(20));
  EXPECT_EQ(step.closing.external->ports(index)->block_count(), 0u);
  EXPECT_GT(step.wanted.external->ports(index)->block_count(), 0u);
}

TEST(NatPlan, RulesMakePoolsAndAListThatThereIsAlreadyIsThatPool) {
  const NatPlan plan = plan_nat(Step::with(
      "addresses: [203.0.113.8, 203.0.113.9], rules: [{to: 10.0.0.0/8, addresses: none}, {from: 10.1.0.5, "
      "addresses: [203.0.113.12]}, {from: 10.1.0.6, to: 192.0.2.0/24, addresses: [203.0.113.9, "
      "203.0.113.8]}, {from: "
      "10.1.0.7, addresses: [203.0.113.12]}]"));
  const auto index = [&](unsigned last) { return *plan.external->index_of(pool(last)); };
  const conntrack::NatPolicy& policy = plan.policies[0];
  EXPECT_EQ(policy.addresses, (std::vector{index(8), index(9)}));
  ASSERT_EQ(policy.more_pools.size(), 1u);
  EXPECT_EQ(policy.more_pools[0], std::vector{index(12)});
  EXPECT_EQ(policy.pools_by_address[index(12)], 1);
  EXPECT_EQ(policy.pools_by_address[index(9)], 0);
  EXPECT_EQ(policy.pools_by_address[index(2)], conntrack::kNoPool);
  const auto rules = plan_egress_rules(plan.config);
  ASSERT_NE(rules, nullptr);
  const auto rule = [&](const char* from, const char* to) {
    return dataplane::rule_for((*rules)[0], *net::parse_ipv4(from), *net::parse_ipv4(to));
  };
  EXPECT_FALSE(rule("10.1.0.5", "10.9.9.9")->is_translated);
  EXPECT_EQ(rule("10.1.0.5", "192.0.2.1")->pool, 1);
  EXPECT_EQ(rule("10.1.0.6", "192.0.2.1")->pool, 0);
  EXPECT_EQ(rule("10.1.0.6", "192.0.3.1"), nullptr);
  EXPECT_EQ(rule("10.1.0.7", "192.0.2.1")->pool, 1);
  EXPECT_EQ(plan_egress_rules(Step::with("overload: true")), nullptr);
}

TEST(NatPlan, ARoutedNetworkTranslatesNothingAndEndsAllSessionsWhenItIsAnother) {
  const auto config = [](const std::string& forward) {
    return configured("  - {name: a, address: 10.1.0.1/24, forward: " + forward + "}\n");
  };
  const NatPlan translated = plan_nat(config("nat")), routed = plan_nat(config("route"));
  EXPECT_TRUE(routed.policies[0].addresses.empty());
  const auto rules = plan_egress_rules(routed.config);
  ASSERT_NE(rules, nullptr);
  EXPECT_FALSE(
      dataplane::rule_for((*rules)[0], net::Ipv4Addr::of(10, 1, 0, 5), net::Ipv4Addr::of(192, 0, 2, 1))
          ->is_translated);
  EXPECT_TRUE(plan_departures(translated, routed, {}).addresses ==
              (std::vector{dataplane::DepartingSessions::Address{0, pool(2)}}));
  EXPECT_TRUE(plan_departures(routed, translated, {}).rules);
  EXPECT_TRUE(plan_departures(routed, routed, {}).is_empty());
}

TEST(NatPlan, SessionsEndByAnAddressThatNoRuleHasAnyMore) {
  const Step step("rules: [{addresses: [203.0.113.12]}]",
                  "rules: [{from: 10.1.0.5, addresses: [203.0.113.13]}]");
  ASSERT_EQ(step.departures.addresses.size(), 1u);
  EXPECT_EQ(step.departures.addresses[0], (dataplane::DepartingSessions::Address{0, pool(12)}));
  EXPECT_TRUE(step.closing.policies[0].leaves(*step.former.external->index_of(pool(12))));
  EXPECT_FALSE(step.departures.rules);
}

TEST(NatPlan, SessionsThatAreNotTranslatedEndWhereTheyWouldBeNow) {
  const auto exempt = [](const std::string& to) { return "rules: [{to: " + to + ", addresses: none}]"; };
  EXPECT_TRUE(Step(exempt("10.0.0.0/8"), exempt("10.0.0.0/8")).departures.is_empty());
  EXPECT_TRUE(Step("overload: true", exempt("10.0.0.0/8")).departures.is_empty());
  const auto session_to = [](net::Ipv4Addr remote) {
    conntrack::Session session;
    const net::Endpoint internal{net::Ipv4Addr::of(10, 1, 0, 5), port(1000)};
    session.open({internal, internal, {remote, port(80)}, net::Protocol::Udp, 0},
                 conntrack::SessionState::OpenUdp, 0, {});
    return session;
  };
  for (const std::string& after : {exempt("10.9.0.0/16"), std::string{"overload: true"}}) {
    const Step step(exempt("10.0.0.0/8"), after);
    ASSERT_TRUE(step.departures.rules);
    const dataplane::DepartingSessions departing({}, {}, step.departures.rules);
    EXPECT_TRUE(departing.include(session_to(net::Ipv4Addr::of(10, 8, 0, 1))));
    EXPECT_EQ(departing.include(session_to(net::Ipv4Addr::of(10, 9, 0, 1))), after != exempt("10.9.0.0/16"));
  }
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
