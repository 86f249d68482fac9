// SPDX-License-Identifier: Apache-2.0
#include "control/commands/rule_list.h"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <nlohmann/json.hpp>

#include "control/config/values.h"

namespace vmnat::control {
namespace {

using admin::Answer;
using admin::Json;

struct RuleFilter {
  std::string network, port;  // empty: any
};

Result<RuleFilter> rule_filter(const Json& arguments) {
  RuleFilter filter;
  for (const auto& [key, value] : arguments.items()) {
    if (key != "network" && key != "port")
      return tl::unexpected(Error{key, "is not an argument of this command"});
    if (!value.is_string() || value.get_ref<const std::string&>().empty())
      return tl::unexpected(Error{key, "must be a name"});
    (key == "network" ? filter.network : filter.port) = value.get<std::string>();
  }
  return filter;
}

const config::Network* network_of_port(const config::Config& config, const std::string& port) {
  for (const config::Network& network : config.networks)
    if (std::ranges::find(network.ports, port, &config::VmPort::name) != network.ports.end()) return &network;
  return nullptr;
}

std::optional<Error> unknown_name(const config::Config& config, const RuleFilter& filter) {
  if (!filter.network.empty() &&
      std::ranges::find(config.networks, filter.network, &config::Network::name) == config.networks.end())
    return Error{"network", fmt::format("there is no network {}", filter.network)};
  if (!filter.port.empty() && network_of_port(config, filter.port) == nullptr)
    return Error{"port", fmt::format("there is no VM port {}", filter.port)};
  return std::nullopt;
}

// Of a port those that its frames may meet: its own and its network's.
std::function<bool(const PlannedRule&)> selection(const config::Config& config, const RuleFilter& filter) {
  const std::string network_of = filter.port.empty() ? "" : network_of_port(config, filter.port)->name;
  return [filter, network_of](const PlannedRule& rule) {
    if (!filter.network.empty() && rule.network != filter.network) return false;
    return filter.port.empty() || rule.port == filter.port ||
           (rule.port.empty() && rule.network == network_of);
  };
}

template <typename T>
Json text_or_null(const std::optional<T>& value) {
  return value ? Json(config::to_text(*value)) : Json();
}

Json to_json(const PlannedRule& row) {
  const config::FilterRule& rule = row.rule;
  return {{"network", row.network},
          {"port", row.port.empty() ? Json() : Json(row.port)},
          {"rule", row.place == 0 ? Json() : Json(row.place)},
          {"direction", config::to_word(rule.direction)},
          {"action", config::to_word(rule.action)},
          {"protocol", rule.protocol ? Json(net::to_string(*rule.protocol)) : Json()},
          {"remote", text_or_null(rule.remote)},
          {"local_port", text_or_null(rule.local_port)},
          {"remote_port", text_or_null(rule.remote_port)},
          {"icmp_type", rule.icmp_type ? Json(*rule.icmp_type) : Json()},
          {"log", rule.log},
          {"packets", row.account->packets()},
          {"bytes", row.account->bytes()}};
}

}  // namespace

Result<Answer> list_rules(const CommandContext& at, const Json& arguments) {
  const auto filter = rule_filter(arguments);
  if (!filter) return tl::unexpected(filter.error());
  if (const auto error = unknown_name(at.config, *filter)) return tl::unexpected(*error);
  if (at.rules.rules == nullptr) return Answer::list_of(Json::array());
  return Answer::list([rules = at.rules.rules, select = selection(at.config, *filter),
                       next = std::size_t{0}](Json& item) mutable {
    while (next < rules->size() && !select((*rules)[next])) ++next;
    if (next == rules->size()) return admin::Pull::End;
    item = to_json((*rules)[next++]);
    return admin::Pull::Item;
  });
}

}  // namespace vmnat::control
