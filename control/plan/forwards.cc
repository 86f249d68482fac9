// SPDX-License-Identifier: Apache-2.0
#include "control/plan/forwards.h"

#include <algorithm>
#include <set>
#include <utility>

#include "control/plan/external_addresses.h"

namespace vmnat::control {
namespace {

using dataplane::ForwardingState;
using dataplane::WordTable;

// The external address that a VM's flows have (RFC 6888 REQ-2): of those that do not drain the first one, from
// the paired one on. Nothing: all of them drain.
std::optional<net::Ipv4Addr> paired_with(net::Endpoint internal, const std::vector<net::Ipv4Addr>& addresses,
                                         const std::set<net::Ipv4Addr>& draining) {
  const std::size_t first = conntrack::Conntrack::paired(internal.address, addresses.size());
  for (std::size_t i = 0; i < addresses.size(); ++i)
    if (const auto address = addresses[(first + i) % addresses.size()]; !draining.contains(address))
      return address;
  return std::nullopt;
}

// Of one server, and for all remotes.
bool is_simple(const dataplane::ForwardRules& rules) {
  return rules.rules.size() == 1 && rules.rules.front().from.length == 0 &&
         rules.rules.front().to.size() == 1;
}

void set_ways_in(const std::vector<ForwardPlan>& forwards, ForwardingState& state) {
  std::vector<WordTable<dataplane::Forward>::Entry> simple;
  std::vector<WordTable<dataplane::ForwardRules>::Entry> others;
  for (const auto& [listener, rules] : listeners_of(forwards)) {
    const std::uint64_t word = ForwardingState::forward_word(listener.first, listener.second);
    if (is_simple(rules))
      simple.push_back({word, {rules.rules.front().to.front(), rules.network, rules.is_draining}});
    else
      others.push_back({word, rules});
  }
  state.forwards = WordTable<dataplane::Forward>(simple);
  state.forward_rules = WordTable<dataplane::ForwardRules>(others);
}

// The external endpoints that VMs' servers leave by: the first forward that leads to one is its way out.
class MappingsOfServers {
 public:
  explicit MappingsOfServers(ForwardingState& state) : state_(state) {}

  void add(const ForwardPlan& plan, unsigned port) {
    const net::Endpoint external = plan.external_at(port);
    const std::uint64_t word = ForwardingState::forward_word(external, plan.protocol);
    auto& mappings = state_.forwards.find(word) != nullptr ? simple_ : shared_;
    for (const net::Endpoint server : plan.to_at(port)) {
      const std::uint64_t internal = ForwardingState::forward_word(server, plan.protocol);
      if (known_.insert(internal).second) mappings.push_back({internal, external});
    }
  }
  void set() const {
    state_.static_mappings = WordTable<net::Endpoint>(simple_);
    state_.shared_mappings = WordTable<net::Endpoint>(shared_);
  }

 private:
  ForwardingState& state_;
  std::set<std::uint64_t> known_;
  std::vector<WordTable<net::Endpoint>::Entry> simple_, shared_;
};

void set_mappings(const std::vector<ForwardPlan>& forwards, ForwardingState& state) {
  MappingsOfServers mappings(state);
  for (const ForwardPlan& plan : forwards) {
    if (plan.external.address.is_unspecified() || !plan.is_mapping) continue;
    for (unsigned port = 0; port < plan.ports; ++port) mappings.add(plan, port);
  }
  mappings.set();
}

// Before those that are for more remotes.
void insert_rule(std::vector<dataplane::ForwardRule>& rules, dataplane::ForwardRule added) {
  const auto for_more = std::ranges::find_if(
      rules, [&](const dataplane::ForwardRule& rule) { return rule.from.length < added.from.length; });
  rules.insert(for_more, std::move(added));
}

}  // namespace

std::vector<ForwardPlan> plan_forwards(const config::Config& config, const RentedAddresses& rented) {
  std::vector<ForwardPlan> forwards;
  const std::set<net::Ipv4Addr> draining = draining_addresses(config);
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const std::vector<net::Ipv4Addr> addresses = planned_addresses(config.networks[i]);
    if (addresses.empty()) continue;
    for (const config::PortForward& forward : config.networks[i].nat.forwards) {
      const auto paired = paired_with(forward.to.front(), addresses, draining);
      for (const net::Ipv4Addr planned : addresses)
        if (const auto address = rented.now(planned); listens_on(forward, address))
          forwards.push_back(
              {.external = {address, forward.port.first},
               .ports = forward.port.size(),
               .protocol = forward.protocol,
               .to = forward.to,
               .from = forward.from.value_or(net::Ipv4Prefix{{}, 0}),
               .network = static_cast<NetworkIndex>(i),
               .is_mapping = !draining.contains(planned) && (forward.address || planned == paired),
               .is_draining = draining.contains(planned)});
    }
  }
  return forwards;
}

std::map<ListeningEndpoint, dataplane::ForwardRules> listeners_of(const std::vector<ForwardPlan>& forwards) {
  std::map<ListeningEndpoint, dataplane::ForwardRules> listeners;
  for (const ForwardPlan& plan : forwards) {
    if (plan.external.address.is_unspecified()) continue;
    for (unsigned port = 0; port < plan.ports; ++port) {
      dataplane::ForwardRules& at = listeners[{plan.external_at(port), plan.protocol}];
      at.network = plan.network;
      at.is_draining = plan.is_draining;
      insert_rule(at.rules, {plan.from, plan.to_at(port)});
    }
  }
  return listeners;
}

void set_forwards(const std::vector<ForwardPlan>& forwards, ForwardingState& state) {
  set_ways_in(forwards, state);
  set_mappings(forwards, state);
}

}  // namespace vmnat::control
