// SPDX-License-Identifier: Apache-2.0
// Rules as the configuration has them, and what of a plan goes on in the next one.
#include "control/plan/rule_plan.h"

#include <gtest/gtest.h>

#include "control/config/values.h"
#include "tests/control/plan/configured.h"
#include "tests/support/testbed.h"

namespace vmnat::control {
namespace {

using dataplane::FlowSide;
using dataplane::RuleAction;

net::L4Port port(std::uint16_t number) {
  return net::L4Port::from_host(number);
}

struct RulePlanTest : testing::Test {
  void SetUp() override { test::packet_pool(); }  // which starts the EAL

  // red with vm1 and vm2, each with what is given behind its socket; and blue.
  static config::Config config_of(const std::string& of_red, const std::string& of_vm1 = "",
                                  const std::string& more_ports = "") {
    return configured("  - {name: red, address: 192.168.122.1/24" + of_red + ",\n     ports: [" +
                      "{name: vm1, vhost_user: /run/vm1.sock" + of_vm1 +
                      "}, {name: vm2, vhost_user: /run/vm2.sock}" + more_ports + "]}\n" +
                      "  - {name: blue, address: 192.168.5.1/24, ports: [{name: vm3, device: veth3}]}\n");
  }
  static RulePlan planned(const config::Config& config, const RulePlan& former = {}) {
    auto plan = plan_rules(config, plan_ports(config, 2), 2, former);
    if (!plan) throw std::runtime_error(to_string(plan.error()));
    return *std::move(plan);
  }
  static RuleAction action(const RulePlan& plan, PortIndex at, Direction direction, const FlowSide& side) {
    return plan.filter->judge(at, direction, side).action;
  }
  static FlowSide tcp(const char* remote, std::uint16_t local = 22) {
    return {
        .protocol = net::Protocol::Tcp, .local_port = port(local), .remote = net::parse_ipv4(remote).value()};
  }
  static FlowSide of_peer(PortIndex peer) {
    FlowSide side = tcp("192.168.122.99");
    side.peer = peer;
    return side;
  }
  static constexpr PortIndex kVm1 = 1, kVm2 = 2, kVm3 = 3;
};

TEST_F(RulePlanTest, WithoutRulesThereIsNoFilter) {
  const RulePlan plan = planned(config_of(""));
  EXPECT_EQ(plan.filter, nullptr);
  EXPECT_EQ(plan.rules, nullptr);
}

TEST_F(RulePlanTest, RulesAreThoseOfTheFileAndTheRowsSayWhichIsWhich) {
  const RulePlan plan = planned(config_of(
      ", rules: [{direction: in, action: accept, protocol: tcp, remote: 198.51.100.0/24, local_port: 22}, "
      "{direction: out, action: reject, protocol: icmp, icmp_type: 8}]",
      ", rules: [{direction: in, action: drop, remote: 198.51.100.66}]"));
  EXPECT_EQ(action(plan, kVm1, Direction::Inbound, tcp("198.51.100.66")), RuleAction::Drop);
  EXPECT_EQ(action(plan, kVm2, Direction::Inbound, tcp("198.51.100.66")), RuleAction::Accept);
  EXPECT_EQ(action(plan, kVm1, Direction::Inbound, tcp("198.51.100.7")), RuleAction::Accept);
  EXPECT_EQ(action(plan, kVm1, Direction::Inbound, tcp("198.51.100.7", 23)), RuleAction::Drop);
  EXPECT_EQ(action(plan, kVm1, Direction::Outbound, tcp("198.51.100.7", 23)), RuleAction::Accept);
  const FlowSide ping{
      .protocol = net::Protocol::Icmp, .icmp_type = 8, .remote = net::Ipv4Addr::of(9, 9, 9, 9)};
  EXPECT_EQ(action(plan, kVm2, Direction::Outbound, ping), RuleAction::Reject);
  EXPECT_EQ(action(plan, kVm3, Direction::Outbound, ping), RuleAction::Accept) << "blue has no rules";
  EXPECT_FALSE(plan.filter->has_rules(kVm3));
  ASSERT_EQ(plan.rules->size(), 4u);
  std::vector<std::string> rows;
  for (const PlannedRule& row : *plan.rules)
    rows.push_back(row.network + " " + row.port + " " + std::to_string(row.place) + " " +
                   config::to_text(row.rule));
  EXPECT_EQ(rows, (std::vector<std::string>{"red  2 out reject icmp, ICMP type 8",
                                            "red  1 in accept tcp, remote 198.51.100.0/24, local port 22",
                                            "red  0 in drop", "red vm1 1 in drop, remote 198.51.100.66/32"}));
  for (std::size_t i = 0; i < plan.rules->size(); ++i)
    EXPECT_EQ(plan.filter->table().rule(static_cast<dataplane::RuleNumber>(i)).account,
              (*plan.rules)[i].account);
  EXPECT_EQ(plan.filter->table().rule(2).name, "network red, no rule that accepts (in)");
  EXPECT_EQ(plan.filter->table().rule(3).name, "port vm1, rule 1 (in drop, remote 198.51.100.66/32)");
}

TEST_F(RulePlanTest, AVmIsNamedByItsPortANetworkIsWhoeverIsInItAndAnotherOneItsAddresses) {
  const RulePlan plan = planned(config_of("",
                                          ", rules: [{direction: in, action: accept, remote: \"port:vm2\"}, "
                                          "{direction: out, action: drop, remote: \"network:red\"}, "
                                          "{direction: out, action: reject, remote: \"network:blue\"}]"));
  EXPECT_EQ(action(plan, kVm1, Direction::Inbound, of_peer(kVm2)), RuleAction::Accept);
  EXPECT_EQ(action(plan, kVm1, Direction::Inbound, of_peer(kVm3)), RuleAction::Drop);
  EXPECT_EQ(action(plan, kVm1, Direction::Inbound, tcp("192.168.122.99")), RuleAction::Drop);
  EXPECT_EQ(action(plan, kVm1, Direction::Outbound, of_peer(kVm2)), RuleAction::Drop);
  EXPECT_EQ(action(plan, kVm1, Direction::Outbound, tcp("192.168.122.99")), RuleAction::Accept);
  EXPECT_EQ(action(plan, kVm1, Direction::Outbound, tcp("192.168.5.9")), RuleAction::Reject);
}

TEST_F(RulePlanTest, AVmHasTheRulesAndTheNameOfThePortThatItMigratesFrom) {
  const RulePlan plan = planned(config_of(", rules: [{direction: in, action: drop, remote: \"port:vm1\"}]",
                                          ", rules: [{direction: out, action: reject}]",
                                          ", {name: vm1b, vhost_user: /run/vm1b.sock, migrates_from: vm1}"));
  constexpr PortIndex kVm1b = 3;
  EXPECT_EQ(plan.filter->vm_at(kVm1b), kVm1);
  EXPECT_EQ(action(plan, kVm1b, Direction::Outbound, tcp("9.9.9.9")), RuleAction::Reject);
  EXPECT_EQ(action(plan, kVm2, Direction::Inbound, of_peer(plan.filter->vm_at(kVm1b))), RuleAction::Drop);
}

constexpr const char* kRules =
    ", rules: [{direction: in, action: drop, protocol: udp}, {direction: in, action: accept, protocol: tcp}]";

TEST_F(RulePlanTest, OfTheSamePlanAllGoesOnAndOfOneWithAnotherPortTheTable) {
  const RulePlan before = planned(config_of(kRules));
  const RulePlan same = planned(config_of(kRules), before);
  EXPECT_EQ(same.filter, before.filter);
  const RulePlan more = planned(config_of(kRules, "", ", {name: vm9, vhost_user: /run/vm9.sock}"), before);
  EXPECT_NE(more.filter, before.filter);
  EXPECT_EQ(more.filter->shared_table(), before.filter->shared_table());
  EXPECT_TRUE(more.filter->has_rules(3));
  EXPECT_NE(more.filter->epoch(), before.filter->epoch());
}

TEST_F(RulePlanTest, ARuleThatStaysKeepsItsCountWhereverItStandsAndOneThatComesBeginsAtNought) {
  const RulePlan before = planned(config_of(kRules));
  before.filter->table().rule(0).account->add(0, 100);
  before.filter->table().rule(1).account->add(1, 10);
  before.filter->table().rule(2).account->add(1, 1);
  const RulePlan after = planned(
      config_of(
          ", rules: [{direction: in, action: accept, protocol: tcp}, {direction: in, action: drop, protocol: "
          "icmp}, {direction: in, action: drop, protocol: udp}, {direction: in, action: drop, protocol: "
          "udp}]"),
      before);
  std::vector<std::uint64_t> bytes;
  for (const PlannedRule& row : *after.rules) bytes.push_back(row.account->bytes());
  EXPECT_EQ(bytes, (std::vector<std::uint64_t>{10, 0, 100, 0, 1}));
  EXPECT_EQ((*after.rules)[0].account->packets(), 1u);
}

TEST_F(RulePlanTest, RulesThatComeBackAreOthersThanThoseThatHaveGone) {
  const RulePlan before = planned(config_of(kRules));
  const RulePlan none = planned(config_of(""), before);
  EXPECT_EQ(none.filter, nullptr);
  EXPECT_NE(planned(config_of(kRules), none).filter->epoch(), before.filter->epoch());
}

}  // namespace
}  // namespace vmnat::control
