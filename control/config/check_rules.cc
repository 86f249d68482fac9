// SPDX-License-Identifier: Apache-2.0
// Checks of rules: what a rule asks for has to be of its protocol, and who it names has to be there.
#include <algorithm>

#include "control/config/check.h"

namespace vmnat::config {
namespace {

bool has_ports(const FilterRule& rule) {
  return rule.protocol == net::Protocol::Tcp || rule.protocol == net::Protocol::Udp;
}

void check_remote(const Config& config, const Network& network, const RuleRemote& remote,
                  const std::string& path, Findings& findings) {
  using Kind = RuleRemote::Kind;
  const auto has = [&](const auto& named, auto name) {
    return std::ranges::find(named, remote.name, name) != named.end();
  };
  if (remote.kind == Kind::Port && !has(network.ports, &VmPort::name))
    findings.complain_at(path, "remote: '" + remote.name + "' is no port of network '" + network.name + "'");
  if (remote.kind == Kind::Network && !has(config.networks, &Network::name))
    findings.complain_at(path, "remote: there is no network '" + remote.name + "'");
}

void check_rule(const FilterRule& rule, const std::string& path, Findings& findings) {
  const auto need = [&](bool is_given, std::string_view key, bool is_met, std::string_view what) {
    if (is_given && !is_met)
      findings.complain_at(path + '.' + std::string{key},
                           std::string{key} + ": needs protocol: " + std::string{what});
  };
  need(rule.local_port.has_value(), "local_port", has_ports(rule), "tcp or udp");
  need(rule.remote_port.has_value(), "remote_port", has_ports(rule), "tcp or udp");
  need(rule.icmp_type.has_value(), "icmp_type", rule.protocol == net::Protocol::Icmp, "icmp");
}

void check_list(const Config& config, const Network& network, const std::vector<FilterRule>& rules,
                const std::string& path, Findings& findings) {
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const std::string at = indexed(path, i);
    if (!findings.given.contains(at + ".protocol") || findings.has(at + ".protocol"))
      check_rule(rules[i], at, findings);
    if (rules[i].remote) check_remote(config, network, *rules[i].remote, at + ".remote", findings);
  }
}

}  // namespace

void check_rules(const Config& config, std::size_t index, Findings& findings) {
  const Network& network = config.networks[index];
  const std::string path = network_path(index);
  check_list(config, network, network.rules, path + ".rules", findings);
  for (std::size_t p = 0; p < network.ports.size(); ++p)
    check_list(config, network, network.ports[p].rules, indexed(path + ".ports", p) + ".rules", findings);
}

}  // namespace vmnat::config
