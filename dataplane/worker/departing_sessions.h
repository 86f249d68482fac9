// SPDX-License-Identifier: Apache-2.0
// DepartingSessions: the sessions that end because the configuration has changed, said by their external endpoint.
//
//   an address that a network loses    all sessions of the network that have it
//   a port that a forward leaves       all sessions that have it
//   a port that a forward takes over   all sessions that have it, but those of where it leads their remotes
//   rules that exempt other flows      sessions that are not translated, and would be now
//
// Immutable: control makes it, and the workers' flush asks it about each session (flush.h). By then no such
// session opens any more.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "dataplane/context/forwarding_state.h"

namespace vmnat::dataplane {

class DepartingSessions {
 public:
  struct Address {
    NetworkIndex network = 0;
    net::Ipv4Addr address;
    auto operator<=>(const Address&) const = default;
  };
  struct Port {
    net::Endpoint external;
    net::Protocol protocol{};
    std::vector<ForwardRule> staying;  // where sessions that go on are led; nothing: none does
  };

  // Neither has an address or a port twice. `rules`: what is exempt from now on; without them, what it was.
  DepartingSessions(const std::vector<Address>& addresses, const std::vector<Port>& ports,
                    std::optional<EgressRulesByNetwork> rules = std::nullopt)
      : addresses_(table_of(addresses)), ports_(table_of(ports)), rules_(std::move(rules)) {}

  [[nodiscard]] bool include(const conntrack::Session& session) const {
    if (session.is_untranslated()) return rules_ && !is_exempt(session);
    if (addresses_.find(word_of(session.policy(), session.external().address)) != nullptr) return true;
    const std::vector<ForwardRule>* staying = staying_at(session);
    if (staying == nullptr) return false;
    return server_by(*staying, session.remote().address) != session.internal();
  }
  // nullptr: no forward comes or goes there.
  [[nodiscard]] const std::vector<ForwardRule>* staying_at(const conntrack::Session& session) const {
    return ports_.find(ForwardingState::forward_word(session.external(), session.protocol()));
  }
  // The only endpoint that a mapping of the external one may have; unspecified: none may be.
  [[nodiscard]] static net::Endpoint mapped_by(const std::vector<ForwardRule>& staying) {
    return staying.size() == 1 && staying.front().to.size() == 1 ? staying.front().to.front()
                                                                 : net::Endpoint{};
  }

 private:
  struct Leaving {};
  [[nodiscard]] bool is_exempt(const conntrack::Session& session) const {
    const EgressRule* rule =
        rule_for(*rules_, session.policy(), session.internal().address, session.remote().address);
    return rule != nullptr && !rule->is_translated;
  }
  static std::uint64_t word_of(NetworkIndex network, net::Ipv4Addr address) {
    return std::uint64_t{network} << 32 | address.raw();
  }
  static WordTable<Leaving> table_of(const std::vector<Address>& addresses) {
    std::vector<WordTable<Leaving>::Entry> entries;
    entries.reserve(addresses.size());
    for (const auto& [network, address] : addresses) entries.push_back({word_of(network, address), {}});
    return WordTable<Leaving>(entries);
  }
  static WordTable<std::vector<ForwardRule>> table_of(const std::vector<Port>& ports) {
    std::vector<WordTable<std::vector<ForwardRule>>::Entry> entries;
    entries.reserve(ports.size());
    for (const auto& [external, protocol, staying] : ports)
      entries.push_back({ForwardingState::forward_word(external, protocol), staying});
    return WordTable<std::vector<ForwardRule>>(entries);
  }

  WordTable<Leaving> addresses_;
  WordTable<std::vector<ForwardRule>> ports_;
  std::optional<EgressRulesByNetwork> rules_;
};

}  // namespace vmnat::dataplane
