// SPDX-License-Identifier: Apache-2.0
// What rules match, beside a loop over them that says it in the simplest way.
#include "dataplane/context/filter_rules.h"

#include <gtest/gtest.h>
#include <random>

#include "tests/support/rule_builder.h"

namespace vmnat::test {
namespace {

using dataplane::FilterRule;
using dataplane::FilterRules;
using dataplane::FlowSide;
using dataplane::kAllPeers;
using dataplane::kNoRule;
using dataplane::PortRules;
using dataplane::RuleAction;
using dataplane::RuleEvent;
using dataplane::RuleEvents;
using dataplane::RuleList;
using dataplane::RuleMatch;
using dataplane::RuleNumber;
using dataplane::RuleTable;

constexpr auto kTcp = net::Protocol::Tcp;
constexpr auto kUdp = net::Protocol::Udp;
constexpr auto kIcmp = net::Protocol::Icmp;

net::L4Port port(std::uint16_t number) {
  return net::L4Port::from_host(number);
}
net::Ipv4Prefix prefix(const char* text) {
  return net::parse_ipv4_prefix(text).value();
}

// Written without the code's own words for it: a rule asks, the flow has to have it.
bool matches(const RuleMatch& rule, const FlowSide& flow) {
  const auto is_in = [](const std::optional<RuleMatch::Ports>& range, net::L4Port number) {
    return !range || (range->first <= number.host() && number.host() <= range->last);
  };
  if (rule.peer && !flow.peer) return false;
  if (rule.peer && *rule.peer != kAllPeers && *rule.peer != *flow.peer) return false;
  if (!flow.is_ipv4)
    return !rule.protocol && !rule.remote && !rule.local_ports && !rule.remote_ports && !rule.icmp_type;
  if (rule.protocol && *rule.protocol != flow.protocol) return false;
  if (rule.remote && !rule.remote->contains(flow.remote)) return false;
  if (rule.icmp_type && *rule.icmp_type != flow.icmp_type) return false;
  return is_in(rule.local_ports, flow.local_port) && is_in(rule.remote_ports, flow.remote_port);
}

RuleNumber first_that_matches(const std::vector<RuleList>& lists, std::initializer_list<unsigned> asked,
                              const FlowSide& flow) {
  for (const unsigned number : asked) {
    RuleNumber before = 0;
    for (unsigned list = 1; list < number; ++list)
      before += static_cast<RuleNumber>(lists[list - 1].rules.size() + (lists[list - 1].otherwise ? 1 : 0));
    for (std::size_t i = 0; number != 0 && i < lists[number - 1].rules.size(); ++i)
      if (matches(lists[number - 1].rules[i].match, flow)) return before + static_cast<RuleNumber>(i);
  }
  return kNoRule;
}

// Rules and flows out of few values, so that they meet.
class Dice {
 public:
  explicit Dice(unsigned seed) : random_(seed) {}
  unsigned below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
  bool once_in(unsigned times) { return below(times) == 0; }

  net::Ipv4Addr address() {
    return net::Ipv4Addr::of(static_cast<std::uint8_t>(below(2) == 0 ? 10 : 198),
                             static_cast<std::uint8_t>(below(3)), static_cast<std::uint8_t>(below(2)),
                             static_cast<std::uint8_t>(below(4)));
  }
  net::Protocol protocol() {
    constexpr net::Protocol kSome[] = {kTcp, kUdp, kIcmp, static_cast<net::Protocol>(47),
                                       static_cast<net::Protocol>(255)};
    return kSome[below(5)];
  }
  std::uint16_t l4_port() {
    constexpr std::uint16_t kSome[] = {0, 1, 22, 80, 255, 256, 1023, 1024, 40000, 65535};
    return kSome[below(10)];
  }
  RuleMatch::Ports ports() {
    const std::uint16_t one = l4_port(), other = l4_port();
    return {std::min(one, other), std::max(one, other)};
  }
  RuleMatch match() {
    RuleMatch match;
    if (!once_in(3)) match.protocol = protocol();
    if (once_in(2)) {
      const auto length = static_cast<std::uint8_t>(below(4) * 8 + below(2) * 3);
      match.remote = net::Ipv4Prefix{net::Ipv4Prefix{address(), length}.first(), length};
    } else if (once_in(3)) {
      match.peer = once_in(3) ? kAllPeers : static_cast<PortIndex>(1 + below(3));
    }
    const bool has_ports = match.protocol == kTcp || match.protocol == kUdp;
    if (has_ports && once_in(2)) match.local_ports = ports();
    if (has_ports && once_in(3)) match.remote_ports = ports();
    if (match.protocol == kIcmp && once_in(2)) match.icmp_type = static_cast<std::uint8_t>(below(2) * 8);
    return match;
  }
  FlowSide flow() {
    FlowSide flow;
    if (once_in(2)) flow.peer = once_in(8) ? kAllPeers : static_cast<PortIndex>(1 + below(3));
    if (flow.peer && once_in(5)) {
      flow.is_ipv4 = false;
      return flow;
    }
    flow.protocol = protocol();
    flow.remote = address();
    if (flow.protocol == kIcmp) flow.icmp_type = static_cast<std::uint8_t>(below(2) * 8);
    if (flow.protocol == kTcp || flow.protocol == kUdp) {
      flow.local_port = port(l4_port());
      flow.remote_port = port(l4_port());
    }
    return flow;
  }
  std::vector<RuleList> lists(unsigned count, unsigned most_rules) {
    std::vector<RuleList> lists(count);
    for (RuleList& list : lists) {
      for (unsigned i = below(most_rules + 1); i > 0; --i) list.rules.push_back(accept(match()));
      if (once_in(2)) list.otherwise = drop();
    }
    return lists;
  }

 private:
  std::mt19937 random_;
};

class FilterRulesTest : public ::testing::Test {
 protected:
  void SetUp() override { packet_pool(); }  // which starts the EAL
};

TEST_F(FilterRulesTest, TheFirstRuleThatMatchesIsTheOneThatALoopFinds) {
  unsigned found = 0, missed = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    Dice dice(seed);
    const std::vector<RuleList> lists = dice.lists(1 + dice.below(6), seed % 3 == 0 ? 60 : 8);
    const auto table = RuleTable::build(lists);
    ASSERT_NE(table, nullptr);
    for (unsigned i = 0; i < 500; ++i) {
      const auto first = static_cast<std::uint16_t>(dice.below(static_cast<unsigned>(lists.size()) + 1));
      const auto second = static_cast<std::uint16_t>(dice.below(static_cast<unsigned>(lists.size()) + 1));
      const FlowSide flow = dice.flow();
      const RuleNumber expected = first_that_matches(lists, {first, second}, flow);
      ASSERT_EQ(table->first_match(first, second, flow), expected)
          << "seed " << seed << ", flow " << i << ", lists " << first << " and " << second;
      ++(expected == kNoRule ? missed : found);
    }
  }
  EXPECT_GT(found, 5000u) << "else little was tried";
  EXPECT_GT(missed, 1000u);
}

TEST_F(FilterRulesTest, OfTenThousandRulesEachIsFoundWhereItIsTheFirst) {
  std::vector<RuleList> lists(1);
  for (unsigned i = 0; i < 10'000; ++i)
    lists[0].rules.push_back(accept({.protocol = kTcp,
                                     .remote = net::Ipv4Prefix{net::Ipv4Addr::from_host(0x0a00'0000 + i), 32},
                                     .local_ports = {{static_cast<std::uint16_t>(1 + i % 1000), 2000}}}));
  const auto table = RuleTable::build(lists);
  ASSERT_NE(table, nullptr);
  for (unsigned i = 0; i < 10'000; ++i) {
    FlowSide flow{.protocol = kTcp,
                  .local_port = port(static_cast<std::uint16_t>(1 + i % 1000)),
                  .remote = net::Ipv4Addr::from_host(0x0a00'0000 + i)};
    ASSERT_EQ(table->first_match(1, 0, flow), i);
    flow.local_port = port(2001);
    ASSERT_EQ(table->first_match(1, 0, flow), kNoRule);
  }
}

TEST_F(FilterRulesTest, WhatIsNoIpv4IsMatchedByRulesThatAskForNothingButAPeer) {
  const struct {
    RuleMatch match;
    bool is_matched;
  } rows[] = {{{}, true},
              {{.peer = PortIndex{2}}, true},
              {{.peer = PortIndex{3}}, false},
              {{.peer = kAllPeers}, true},
              {{.remote = prefix("0.0.0.0/0")}, false},
              {{.protocol = static_cast<net::Protocol>(255)}, false},
              {{.protocol = static_cast<net::Protocol>(0)}, false}};
  unsigned row = 0;
  for (const auto& [match, expected] : rows) {
    std::vector<RuleList> lists(1);
    lists[0].rules = {accept(match)};
    const auto table = RuleTable::build(lists);
    const FlowSide no_ipv4{.is_ipv4 = false, .peer = PortIndex{2}};
    EXPECT_EQ(table->first_match(1, 0, no_ipv4) == 0, expected) << "row " << row++;
  }
}

TEST_F(FilterRulesTest, ATableWithoutRulesMatchesNothing) {
  const auto table = RuleTable::build({});
  ASSERT_NE(table, nullptr);
  EXPECT_EQ(table->first_match(0, 0, {}), kNoRule);
}

// As FilterRules has it: which lists are asked, and what holds where none matches.
struct Judged : FilterRulesTest {
  static FlowSide tcp_to(std::uint16_t local) {
    return {.protocol = kTcp, .local_port = port(local), .remote = net::Ipv4Addr::of(198, 51, 100, 7)};
  }
  RuleAction action(PortIndex at, Direction direction, const FlowSide& side) {
    return rules.made_for(state)->judge(at, direction, side).action;
  }
  dataplane::ForwardingState state = [] {
    dataplane::ForwardingState with_ports;
    with_ports.ports = {{}, {.network = 0}, {.network = 0}, {.network = 1}};
    return with_ports;
  }();
  RuleBuilder rules;
};

TEST_F(Judged, WithoutRulesOfItsOwnOrItsNetworkAPortLetsEverythingPass) {
  rules.of_port(1).in = {drop()};
  EXPECT_EQ(action(1, Direction::Inbound, tcp_to(22)), RuleAction::Drop);
  EXPECT_EQ(action(1, Direction::Outbound, tcp_to(22)), RuleAction::Accept);
  EXPECT_EQ(action(2, Direction::Inbound, tcp_to(22)), RuleAction::Accept);
  EXPECT_FALSE(rules.made_for(state)->has_rules(2));
}

TEST_F(Judged, APortsOwnRulesGoBeforeItsNetworks) {
  rules.of_network(0).in = {drop({.protocol = kTcp, .local_ports = {{22, 22}}})};
  rules.of_port(1).in = {accept({.protocol = kTcp, .local_ports = {{22, 22}}})};
  EXPECT_EQ(action(1, Direction::Inbound, tcp_to(22)), RuleAction::Accept);
  EXPECT_EQ(action(2, Direction::Inbound, tcp_to(22)), RuleAction::Drop);
  EXPECT_EQ(action(3, Direction::Inbound, tcp_to(22)), RuleAction::Accept) << "of another network";
}

TEST_F(Judged, WhatNoRuleMatchesIsDroppedWhereTheDirectionHasARuleThatAcceptsElseItPasses) {
  rules.of_network(0).in = {drop({.protocol = kTcp, .local_ports = {{23, 23}}})};
  EXPECT_EQ(action(1, Direction::Inbound, tcp_to(22)), RuleAction::Accept);
  rules.of_port(1).in = {accept({.protocol = kTcp, .local_ports = {{80, 80}}})};
  EXPECT_EQ(action(1, Direction::Inbound, tcp_to(22)), RuleAction::Drop);
  EXPECT_EQ(action(2, Direction::Inbound, tcp_to(22)), RuleAction::Accept) << "the other port's is not asked";
  EXPECT_EQ(action(1, Direction::Outbound, tcp_to(22)), RuleAction::Accept) << "nor the other direction";
  rules.of_network(0).in.push_back(accept({.protocol = kUdp}));
  EXPECT_EQ(action(2, Direction::Inbound, tcp_to(22)), RuleAction::Drop);
}

TEST_F(Judged, ASessionIsAskedAboutAsItsOpenerBeganIt) {
  rules.of_port(1).out = {
      accept({.protocol = kUdp, .remote = prefix("198.51.100.0/24"), .remote_ports = {{53, 53}}})};
  rules.of_port(1).in = {accept({.protocol = kTcp, .local_ports = {{80, 80}}})};
  const auto made = rules.made_for(state);
  const auto session = [](net::Protocol protocol, const char* remote, std::uint16_t remote_port,
                          std::uint16_t local, std::uint8_t flags) {
    conntrack::Session made_session;
    made_session.open({.internal = {net::Ipv4Addr::of(192, 168, 122, 10), port(local)},
                       .external = {net::Ipv4Addr::of(203, 0, 113, 2), port(8080)},
                       .remote = {net::parse_ipv4(remote).value(), port(remote_port)},
                       .protocol = protocol,
                       .policy = 0},
                      conntrack::SessionState::OpenUdp, flags, Time{});
    made_session.set_place(1, vm_mac(1));
    return made_session;
  };
  constexpr std::uint8_t kInvited = conntrack::Session::kInvited;
  EXPECT_TRUE(made->accepts(session(kUdp, "198.51.100.7", 53, 4000, 0)));
  EXPECT_FALSE(made->accepts(session(kUdp, "198.51.101.7", 53, 4000, 0)));
  EXPECT_FALSE(made->accepts(session(kUdp, "198.51.100.7", 54, 4000, 0)));
  EXPECT_TRUE(made->accepts(session(kTcp, "198.51.101.7", 4000, 80, kInvited)))
      << "its own port, not the external";
  EXPECT_FALSE(made->accepts(session(kTcp, "198.51.101.7", 4000, 8080, kInvited)));
  EXPECT_FALSE(made->accepts(session(kUdp, "198.51.100.7", 53, 4000, kInvited)));
}

TEST(RuleEventsTest, WhatFindsNoRoomIsCountedAndTheOthersComeInTheirOrder) {
  RuleEvents events;
  for (std::uint32_t i = 0; i < RuleEvents::kRoom + 3; ++i) events.add({.rule = i});
  EXPECT_EQ(events.missed(), 3u);
  RuleEvent event;
  for (std::uint32_t i = 0; i < RuleEvents::kRoom; ++i) {
    ASSERT_TRUE(events.take(event));
    EXPECT_EQ(event.rule, i);
  }
  EXPECT_FALSE(events.take(event));
  events.add({.rule = 9});
  ASSERT_TRUE(events.take(event));
  EXPECT_EQ(event.rule, 9u);
}

}  // namespace
}  // namespace vmnat::test
