// SPDX-License-Identifier: Apache-2.0
#include "control/plan/rule_plan.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <unordered_map>

#include "control/config/values.h"

namespace vmnat::control {
namespace {

using config::RuleDirection;
using dataplane::kNoList;
using dataplane::ListNumber;
using dataplane::RuleMatch;

// Of the tables' lists and of RulePlan::rules, in the order of dataplane::PortRules.
constexpr RuleDirection kDirections[] = {RuleDirection::Out, RuleDirection::In};

dataplane::RuleAction action_of(config::RuleAction action) {
  switch (action) {
    case config::RuleAction::Drop:
      return dataplane::RuleAction::Drop;
    case config::RuleAction::Reject:
      return dataplane::RuleAction::Reject;
    case config::RuleAction::Accept:
      break;
  }
  return dataplane::RuleAction::Accept;
}

std::optional<RuleMatch::Ports> ports_of(const std::optional<config::PortRange>& range) {
  if (!range) return std::nullopt;
  return RuleMatch::Ports{range->first.host(), range->last.host()};
}

// A port or a network with rules of its own.
struct Owner {
  const config::Network& network;
  std::string port;  // empty: the network

  [[nodiscard]] std::string name() const { return port.empty() ? "network " + network.name : "port " + port; }
};

class Planner {
 public:
  Planner(const config::Config& config, const std::vector<PortPlan>& ports, unsigned workers,
          const RulePlan& former)
      : config_(config), ports_(ports), workers_(workers) {
    if (former.rules == nullptr) return;
    Occurrences seen;
    for (const PlannedRule& rule : *former.rules)
      accounts_.emplace(identity(rule, seen), std::const_pointer_cast<dataplane::RuleAccount>(rule.account));
  }

  // Their numbers by direction.
  std::array<ListNumber, 2> add(const Owner& owner, const std::vector<config::FilterRule>& rules) {
    std::array<ListNumber, 2> numbers{kNoList, kNoList};
    for (std::size_t way = 0; way < 2; ++way)
      if (std::ranges::find(rules, kDirections[way], &config::FilterRule::direction) != rules.end())
        numbers[way] = add_list(owner, rules, kDirections[way]);
    return numbers;
  }
  RulePlan take() {
    if (!rules_.empty()) plan_.rules = std::make_shared<const std::vector<PlannedRule>>(std::move(rules_));
    return std::move(plan_);
  }

 private:
  ListNumber add_list(const Owner& owner, const std::vector<config::FilterRule>& rules,
                      RuleDirection direction) {
    dataplane::RuleList& list = plan_.lists.emplace_back();
    bool accepts = false;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      if (rules[i].direction != direction) continue;
      list.rules.push_back(planned(owner, i + 1, rules[i]));
      accepts |= rules[i].action == config::RuleAction::Accept;
    }
    if (accepts)
      list.otherwise = planned(owner, 0, {.direction = direction, .action = config::RuleAction::Drop});
    return static_cast<ListNumber>(plan_.lists.size());
  }

  dataplane::FilterRule planned(const Owner& owner, std::size_t place, const config::FilterRule& rule) {
    PlannedRule row{.network = owner.network.name, .port = owner.port, .place = place, .rule = rule};
    auto account = account_of(row);
    row.account = account;
    rules_.push_back(std::move(row));
    return {.match = match_of(owner, rule),
            .action = action_of(rule.action),
            .is_logged = rule.log,
            .name = place == 0 ? fmt::format("{}, no rule that accepts ({})", owner.name(),
                                             config::to_word(rule.direction))
                               : fmt::format("{}, rule {} ({})", owner.name(), place, config::to_text(rule)),
            .account = std::move(account)};
  }

  RuleMatch match_of(const Owner& owner, const config::FilterRule& rule) const {
    RuleMatch match{.protocol = rule.protocol,
                    .local_ports = ports_of(rule.local_port),
                    .remote_ports = ports_of(rule.remote_port),
                    .icmp_type = rule.icmp_type};
    if (rule.remote) set_remote(owner, *rule.remote, match);
    return match;
  }

  // VMs of the owner's network are known by their ports, whatever their addresses are.
  void set_remote(const Owner& owner, const config::RuleRemote& remote, RuleMatch& match) const {
    using Kind = config::RuleRemote::Kind;
    switch (remote.kind) {
      case Kind::Prefix:
        match.remote = remote.prefix;
        return;
      case Kind::Port:
        match.peer = number_of(remote.name);
        return;
      case Kind::Network:
        if (remote.name == owner.network.name)
          match.peer = dataplane::kAllPeers;
        else
          match.remote = prefix_of(remote.name);
        return;
    }
  }

  // A VM that may come by several ports is known by one of them.
  PortIndex number_of(const std::string& port) const {
    const auto found =
        std::ranges::find_if(ports_, [&](const PortPlan& plan) { return plan.exists && plan.name == port; });
    return origin_of(ports_, *found);
  }
  net::Ipv4Prefix prefix_of(const std::string& network) const {
    return std::ranges::find(config_.networks, network, &config::Network::name)->address;
  }

  // The same rule at another place of its list is the same rule, unless the list has it twice.
  using Occurrences = std::unordered_map<std::string, unsigned>;
  static std::string identity(const PlannedRule& rule, Occurrences& seen) {
    const std::string text = fmt::format("{}/{}/{}/{}", rule.network, rule.port,
                                         rule.place == 0 ? "otherwise" : "", config::to_text(rule.rule));
    return fmt::format("{}/{}", text, seen[text]++);
  }
  std::shared_ptr<dataplane::RuleAccount> account_of(const PlannedRule& rule) {
    auto& account = accounts_[identity(rule, seen_)];
    if (account == nullptr) account = std::make_shared<dataplane::RuleAccount>(workers_);
    return account;
  }

  const config::Config& config_;
  const std::vector<PortPlan>& ports_;
  unsigned workers_;
  std::unordered_map<std::string, std::shared_ptr<dataplane::RuleAccount>> accounts_;
  Occurrences seen_;
  std::vector<PlannedRule> rules_;
  RulePlan plan_;
};

std::shared_ptr<const dataplane::RuleTable> table_of(const RulePlan& plan, const RulePlan& former) {
  if (former.filter != nullptr && plan.lists == former.lists) return former.filter->shared_table();
  return dataplane::RuleTable::build(plan.lists);
}

// Of a direction in which the port or its network has a rule that accepts, the port's before the network's.
void set_otherwise(const dataplane::RuleTable& table, dataplane::PortRules& port) {
  for (std::size_t way = 0; way < 2; ++way) {
    const auto own = table.otherwise_of(port.own[way]);
    port.otherwise[way] = own != dataplane::kNoRule ? own : table.otherwise_of(port.network[way]);
  }
}

}  // namespace

Result<RulePlan> plan_rules(const config::Config& config, const std::vector<PortPlan>& ports,
                            unsigned workers, const RulePlan& former) {
  Planner planner(config, ports, workers, former);
  std::vector<dataplane::PortRules> of_ports(ports.size());
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const auto lists = planner.add({config.networks[i], ""}, config.networks[i].rules);
    for (std::size_t port = 0; port < ports.size(); ++port)
      if (ports[port].network == i && ports[port].config != nullptr) of_ports[port].network = lists;
  }
  for (std::size_t port = 0; port < ports.size(); ++port) {
    of_ports[port].vm = static_cast<PortIndex>(port);
    if (ports[port].config != nullptr)
      of_ports[port].own =
          planner.add({config.networks[ports[port].network], ports[port].name}, ports[port].config->rules);
  }
  RulePlan plan = planner.take();
  plan.epoch = former.epoch;
  if (plan.lists.empty()) return plan;
  const auto table = table_of(plan, former);
  if (table == nullptr)
    return tl::unexpected(
        Error{"rules", fmt::format("no memory for {} of them: more dataplane.memory; nothing was changed",
                                   plan.rules->size())});
  for (dataplane::PortRules& port : of_ports) set_otherwise(*table, port);
  for (std::size_t port = 0; port < ports.size(); ++port)
    if (const PortIndex vm = ports[port].config != nullptr ? origin_of(ports, ports[port]) : PortIndex{0};
        vm != 0)
      of_ports[port] = of_ports[vm];
  if (former.filter != nullptr && table == former.filter->shared_table() &&
      of_ports == former.filter->ports()) {
    plan.filter = former.filter;
    return plan;
  }
  plan.filter =
      std::make_shared<const dataplane::FilterRules>(table, std::move(of_ports), ++plan.epoch, workers);
  return plan;
}

void set_rules(const std::shared_ptr<const dataplane::FilterRules>& rules,
               dataplane::ForwardingState& state) {
  state.rules = rules;
  for (std::size_t i = 0; i < state.ports.size(); ++i)
    state.ports[i].has_rules = rules != nullptr && rules->has_rules(static_cast<PortIndex>(i));
}

}  // namespace vmnat::control
