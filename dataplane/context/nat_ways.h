// SPDX-License-Identifier: Apache-2.0
// What the configuration says of ways through the NAT: forwards, addresses that are a VM's alone, rules by VM and
// destination. They are asked when a session opens, and steering asks where its frames go.
//
// Examples: {protocol: tcp, port: 80, to: [.10:80, .11:80]} is a ForwardRule for any remote, {port: 22, from:
// 198.51.100.0/24, to: .10:22} one for some; {internal: .20, external: 203.0.113.20} is an AddressPair; {to: 10.0.0.0/8,
// addresses: none} an EgressRule.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "conntrack/flow_key.h"
#include "conntrack/hash.h"
#include "conntrack/policy.h"
#include "net/address.h"

namespace vmnat::dataplane {

using NetworkIndex = std::uint16_t;
inline constexpr NetworkIndex kNoNetwork = 0xffff;

// Where an external endpoint leads: an internal endpoint, by the configuration.
struct Forward {
  net::Endpoint to;
  NetworkIndex network = 0;
  bool is_draining = false;  // its sessions go on, and none is opened by it
};

// Where an external endpoint leads some remotes.
struct ForwardRule {
  net::Ipv4Prefix from{{}, 0};    // of length 0: any
  std::vector<net::Endpoint> to;  // one or more
  bool operator==(const ForwardRule&) const = default;
};

// The rule for the remote, of rules of which those for fewer remotes come first; nullptr: none is.
inline const ForwardRule* rule_for(const std::vector<ForwardRule>& rules, net::Ipv4Addr remote) {
  for (const ForwardRule& rule : rules)
    if (rule.from.contains(remote)) return &rule;
  return nullptr;
}

// Which of them serves the remote address: the same for all its flows, on all workers and after a restart. Where one
// comes or goes, no remote of another moves (rendezvous hashing).
inline net::Endpoint server_of(const std::vector<net::Endpoint>& servers, net::Ipv4Addr remote) {
  const auto weight = [remote](net::Endpoint server) {
    static constexpr conntrack::FlowHash kHash(6888);
    return kHash({remote.raw(), conntrack::FlowKey::pack(server)});
  };
  net::Endpoint chosen = servers.front();
  for (const net::Endpoint server : servers)
    if (weight(server) > weight(chosen)) chosen = server;
  return chosen;
}

// Where rules lead the remote; nothing: nowhere.
inline std::optional<net::Endpoint> server_by(const std::vector<ForwardRule>& rules, net::Ipv4Addr remote) {
  const ForwardRule* rule = rule_for(rules, remote);
  return rule != nullptr ? std::optional{server_of(rule->to, remote)} : std::nullopt;
}

struct ForwardRules {
  std::vector<ForwardRule> rules;
  NetworkIndex network = 0;
  bool is_draining = false;
};

// An internal address and the external one that is its alone, with all protocols and ports (nat.static).
struct AddressPair {
  net::Ipv4Addr internal, external;
  NetworkIndex network = 0;
  bool is_draining = false;  // its sessions go on, and none is opened by it
  bool operator==(const AddressPair&) const = default;
};

// What a network says of flows from these internal addresses to those remotes (nat.rules): by which pool of its
// policy they leave, or that they are not translated.
struct EgressRule {
  net::Ipv4Prefix from{{}, 0}, to{{}, 0};  // of length 0: any
  bool is_translated = true;
  conntrack::PoolIndex pool = 0;
};
using EgressRules = std::vector<EgressRule>;
using EgressRulesByNetwork = std::vector<EgressRules>;  // a network beyond the end has none

// The first that fits; nullptr: none does.
inline const EgressRule* rule_for(const EgressRules& rules, net::Ipv4Addr internal, net::Ipv4Addr remote) {
  for (const EgressRule& rule : rules)
    if (rule.from.contains(internal) && rule.to.contains(remote)) return &rule;
  return nullptr;
}
inline const EgressRule* rule_for(const EgressRulesByNetwork& all, NetworkIndex network,
                                  net::Ipv4Addr internal, net::Ipv4Addr remote) {
  return network < all.size() ? rule_for(all[network], internal, remote) : nullptr;
}

// Whether some flows are not translated.
inline bool has_exemption(const EgressRules& rules) {
  return std::ranges::any_of(rules, [](const EgressRule& rule) { return !rule.is_translated; });
}

}  // namespace vmnat::dataplane
