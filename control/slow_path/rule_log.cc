// SPDX-License-Identifier: Apache-2.0
#include "control/slow_path/rule_log.h"

#include <fmt/format.h>

#include "net/protocol.h"

namespace vmnat::control {
namespace {

const char* word_of(dataplane::RuleAction action) {
  switch (action) {
    case dataplane::RuleAction::Drop:
      return "dropped";
    case dataplane::RuleAction::Reject:
      return "rejected";
    case dataplane::RuleAction::Accept:
      break;
  }
  return "accepted";
}

bool has_ports(net::Protocol protocol) {
  return protocol == net::Protocol::Tcp || protocol == net::Protocol::Udp;
}

}  // namespace

std::string to_string(const dataplane::RuleEvent& event) {
  const bool is_inbound = event.direction == Direction::Inbound;
  const char* const way = is_inbound ? "in" : "out";
  if (!event.is_ipv4) return fmt::format("{} no IPv4", way);
  const std::string protocol = net::to_string(event.protocol), remote = net::to_string(event.remote);
  const char* const towards = is_inbound ? "from" : "to";
  if (event.protocol == net::Protocol::Icmp)
    return fmt::format("{} {} type {} {} {}", way, protocol, event.icmp_type, towards, remote);
  if (!has_ports(event.protocol)) return fmt::format("{} {} {} {}", way, protocol, towards, remote);
  return fmt::format("{} {} {} {}:{}, local port {}", way, protocol, towards, remote,
                     event.remote_port.host(), event.local_port.host());
}

void RuleLog::tell(const dataplane::FilterRules& rules, const dataplane::RuleEvent& event, SteadyTime now) {
  const dataplane::FilterRule& rule = rules.table().rule(event.rule);
  const std::string& port = event.port < ports_.size() ? ports_[event.port].name : "";
  log_.log(spdlog::level::info, {"rule", rule.name}, now, "port {}: {}: {} by {}", port, to_string(event),
           word_of(rule.action), rule.name);
}

void RuleLog::tell(const dataplane::FilterRules* rules, SteadyTime now) {
  if (rules == nullptr) return;
  std::uint64_t missed = 0;
  for (unsigned worker = 0; worker < rules->workers(); ++worker) {
    dataplane::RuleEvents& events = rules->events(static_cast<WorkerIndex>(worker));
    // No more than were there to begin with: a flood does not hold control up.
    dataplane::RuleEvent event;
    for (std::size_t left = dataplane::RuleEvents::kRoom; left > 0 && events.take(event); --left)
      tell(*rules, event, now);
    missed += events.missed();
  }
  if (missed > missed_)
    log_.log(spdlog::level::info, {"rule", "missed"}, now, "rules: {} more frames met a rule with log",
             missed - missed_);
  missed_ = missed;
}

}  // namespace vmnat::control
