// SPDX-License-Identifier: Apache-2.0
// Rules of a testbed's ports and networks, as control would make them.
//
//   RuleBuilder rules;
//   rules.of_port(kVm1).in.push_back(accept({.protocol = net::Protocol::Tcp, .local_ports = {{22, 22}}}));
//   rules.put_into(bed);
#pragma once

#include <map>

#include "dataplane/context/filter_rules.h"
#include "tests/support/testbed.h"

namespace vmnat::test {

inline dataplane::FilterRule rule(dataplane::RuleAction action, const dataplane::RuleMatch& match) {
  return {.match = match,
          .action = action,
          .name = "a rule",
          .account = std::make_shared<dataplane::RuleAccount>(4)};
}
inline dataplane::FilterRule accept(const dataplane::RuleMatch& match = {}) {
  return rule(dataplane::RuleAction::Accept, match);
}
inline dataplane::FilterRule drop(const dataplane::RuleMatch& match = {}) {
  return rule(dataplane::RuleAction::Drop, match);
}
inline dataplane::FilterRule reject(const dataplane::RuleMatch& match = {}) {
  return rule(dataplane::RuleAction::Reject, match);
}

class RuleBuilder {
 public:
  struct Lists {
    std::vector<dataplane::FilterRule> out, in;
  };
  Lists& of_port(PortIndex port) { return ports_[port]; }
  Lists& of_network(dataplane::NetworkIndex network) { return networks_[network]; }

  // From the next poll on.
  void put_into(Testbed& bed) {
    bed.change_state([&](dataplane::ForwardingState& state) {
      state.rules = made_for(state);
      for (std::size_t i = 0; i < state.ports.size(); ++i)
        state.ports[i].has_rules = state.rules->has_rules(static_cast<PortIndex>(i));
    });
  }
  std::shared_ptr<const dataplane::FilterRules> made_for(const dataplane::ForwardingState& state) {
    static std::uint16_t epoch = 0;
    lists_.clear();
    std::vector<dataplane::PortRules> of_ports(state.ports.size());
    std::map<dataplane::NetworkIndex, std::array<dataplane::ListNumber, 2>> networks;
    for (const auto& [network, lists] : networks_) networks[network] = added(lists);
    for (std::size_t port = 0; port < of_ports.size(); ++port) {
      of_ports[port].vm = static_cast<PortIndex>(port);
      if (port == kUplink) continue;
      of_ports[port].network = networks[state.ports[port].network];
      if (const auto own = ports_.find(static_cast<PortIndex>(port)); own != ports_.end())
        of_ports[port].own = added(own->second);
    }
    auto table = dataplane::RuleTable::build(lists_);
    if (table == nullptr) throw std::runtime_error("no memory for rules");
    for (dataplane::PortRules& port : of_ports)
      for (std::size_t way = 0; way < 2; ++way) {
        port.otherwise[way] = table->otherwise_of(port.own[way]);
        if (port.otherwise[way] == dataplane::kNoRule)
          port.otherwise[way] = table->otherwise_of(port.network[way]);
      }
    return std::make_shared<const dataplane::FilterRules>(std::move(table), std::move(of_ports), ++epoch, 4);
  }

 private:
  std::array<dataplane::ListNumber, 2> added(const Lists& lists) {
    return {added_list(lists.out), added_list(lists.in)};
  }
  dataplane::ListNumber added_list(const std::vector<dataplane::FilterRule>& rules) {
    if (rules.empty()) return dataplane::kNoList;
    dataplane::RuleList& list = lists_.emplace_back();
    list.rules = rules;
    for (const auto& one : rules)
      if (one.action == dataplane::RuleAction::Accept) list.otherwise = drop();
    return static_cast<dataplane::ListNumber>(lists_.size());
  }

  std::map<PortIndex, Lists> ports_;
  std::map<dataplane::NetworkIndex, Lists> networks_;
  std::vector<dataplane::RuleList> lists_;
};

}  // namespace vmnat::test
