// SPDX-License-Identifier: Apache-2.0
// One function per form of output.
#include "control/ctl/render.h"

#include <algorithm>
#include <fmt/format.h>

#include "control/ctl/json_at.h"

namespace vmnat::ctl {
namespace {

std::string memory_text(const Json& memory) {
  if (!at(memory, "bytes").is_number()) return "-";
  return fmt::format("{} MiB, {}", at(memory, "bytes").get<std::uint64_t>() >> 20,
                     at(memory, "hugepages") == true ? "hugepages" : "no hugepages");
}

// "2, replies steered by flow rules"
std::string workers_text(const Json& status) {
  std::string text = plain_text(at(status, "workers"));
  if (!at(status, "steering").is_string()) return text;
  const std::string way = plain_text(at(status, "steering"));
  return text + ", replies steered by " + (way == "rss" ? "RSS" : way == "flow_rules" ? "flow rules" : way);
}

// " by DHCP from 203.0.113.1, until 2026-01-01T12:00:00Z"; empty without DHCP.
std::string lease_text(const Json& lease) {
  if (lease.is_null()) return "";
  if (at(lease, "server").is_null()) return fmt::format(", DHCP {}", plain_text(at(lease, "state")));
  const Json& expires = at(lease, "expires");
  return fmt::format(", DHCP {} by {}, {}", plain_text(at(lease, "state")), plain_text(at(lease, "server")),
                     expires.is_null() ? "for ever" : "until " + plain_text(expires));
}

std::string uplink_text(const Json& uplink) {
  if (uplink.is_object() && at(uplink, "address").is_null())
    return fmt::format("{} {}, no address{}", plain_text(at(uplink, "device")),
                       plain_text(at(uplink, "link")), lease_text(at(uplink, "dhcp")));
  if (uplink.is_object() && at(uplink, "gateway").is_null())
    return fmt::format("{} {}, {} without a router{}", plain_text(at(uplink, "device")),
                       plain_text(at(uplink, "link")), plain_text(at(uplink, "address")),
                       lease_text(at(uplink, "dhcp")));
  return fmt::format(
      "{} {}, {} via {} ({}){}", plain_text(at(uplink, "device")), plain_text(at(uplink, "link")),
      plain_text(at(uplink, "address")), plain_text(at(uplink, "gateway")),
      at(uplink, "gateway_mac").is_null() ? "not resolved" : plain_text(at(uplink, "gateway_mac")),
      lease_text(at(uplink, "dhcp")));
}

// Of several: "wan1 is dead (it has no link)", "wan2 is active: default, lab".
std::string uplink_state_text(const Json& uplink) {
  const std::string text =
      fmt::format("{} is {}", plain_text(at(uplink, "name")), plain_text(at(uplink, "state")));
  if (!at(uplink, "why").is_null()) return fmt::format("{} ({})", text, plain_text(at(uplink, "why")));
  return at(uplink, "networks").empty() ? text
                                        : fmt::format("{}: {}", text, plain_text(at(uplink, "networks")));
}

std::string status_text(const Json& status) {
  std::string text;
  const auto line = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{:<10}{}\n", name, value);
  };
  line("vmnatd", plain_text(at(status, "version")) + ", " + plain_text(at(status, "state")) + " for " +
                     duration_text(at(status, "uptime_s")));
  line("config", plain_text(at(status, "config")));
  line("uplink", uplink_text(at(status, "uplink")));
  if (const Json& uplinks = at(status, "uplinks"); uplinks.is_array() && uplinks.size() > 1)
    for (const Json& uplink : uplinks) line("", uplink_state_text(uplink));
  line("networks", plain_text(at(status, "networks")));
  line("ports", fmt::format("{} up of {}", plain_text(at(status, "ports", "up")),
                            plain_text(at(status, "ports", "total"))));
  line("leases", plain_text(at(status, "leases")));
  line("sessions", fmt::format("{} of {}", plain_text(at(status, "sessions", "active")),
                               plain_text(at(status, "sessions", "capacity"))));
  line("workers", workers_text(status));
  line("memory", memory_text(at(status, "memory")));
  if (const Json& told = at(status, "resolvers"); told.is_array())
    line("resolvers", told.empty() ? "none" : plain_text(told));
  for (const Json& note : at(status, "notes")) line("note", plain_text(note));
  return text;
}

std::string counters_text(const Json& counters) {
  std::size_t name_width = 0, number_width = 0;
  for (const auto& [name, value] : counters.items()) {
    name_width = std::max(name_width, name.size());
    number_width = std::max(number_width, plain_text(value).size());
  }
  std::string text;
  for (const auto& [name, value] : counters.items())
    text += fmt::format("{:<{}}  {:>{}}\n", name, name_width, plain_text(value), number_width);
  return text;
}

// Of `reload --dry-run`: what needs a restart stands last.
std::string preview_text(const Json& answer) {
  std::string text;
  for (const Json& change : at(answer, "changed")) text += plain_text(change) + "\n";
  for (const Json& change : at(answer, "held")) text += plain_text(change) + " (needs a restart)\n";
  if (text.empty()) return "nothing would change\n";
  if (at(answer, "can_be_applied") == true) return text;
  if (const Json& refused = at(answer, "refused"); refused.is_string())
    return text + "a reload would change nothing: " + plain_text(refused) + "\n";
  std::string keys;
  for (const Json& key : at(answer, "restart")) keys += (keys.empty() ? "" : ", ") + plain_text(key);
  return text + "a reload would change nothing: these need a restart: " + keys + "\n";
}

std::string changed_text(const Json& answer) {
  if (answer.contains("can_be_applied")) return preview_text(answer);
  const Json& changed = at(answer, "changed");
  if (!changed.is_array() || changed.empty()) return "nothing has changed\n";
  std::string text;
  for (const Json& change : changed) text += plain_text(change) + "\n";
  return text;
}

std::string released_text(const Json& lease) {
  return fmt::format("the lease of {} for {} has ended\n", plain_text(at(lease, "address")),
                     plain_text(at(lease, "mac")));
}

std::string reserved_text(const Json& reservation) {
  const bool by_mac = !at(reservation, "mac").is_null();
  return fmt::format("{} is reserved for {} {}\n", plain_text(at(reservation, "address")),
                     by_mac ? "MAC" : "port", plain_text(at(reservation, by_mac ? "mac" : "port")));
}

std::string unreserved_text(const Json& reservation) {
  return plain_text(at(reservation, "address")) + " is no longer reserved\n";
}

std::string config_text(const Json& config) {
  return config.value("yaml", "");
}

std::string count_text(const Json& sessions) {
  return plain_text(at(sessions, "count")) + "\n";
}

std::string flushed_text(const Json& flush) {
  return plain_text(at(flush, "flushed")) + " sessions ended\n";
}

struct ObjectText {
  std::string_view command;
  std::string (*text)(const Json&);
};
constexpr ObjectText kTexts[] = {
    {"status", status_text},          {"counters", counters_text},    {"config", config_text},
    {"reload", changed_text},         {"sessions", count_text},       {"flush", flushed_text},
    {"lease-release", released_text}, {"reserve-add", reserved_text}, {"reserve-del", unreserved_text},
    {"port-add", changed_text},       {"port-del", changed_text},     {"network-add", changed_text},
    {"network-del", changed_text},    {"forward-add", changed_text},  {"forward-del", changed_text},
    {"pool-add", changed_text},       {"pool-drain", changed_text},   {"pool-del", changed_text},
};

}  // namespace

std::string object_text(std::string_view command, const Json& object) {
  const auto* const found = std::ranges::find(kTexts, command, &ObjectText::command);
  return found == std::end(kTexts) ? object.dump(2) + "\n" : found->text(object);
}

std::string stages_text(const Json& worker) {
  const Json& stages = at(worker, "stages");
  if (!stages.is_object()) return "";
  std::string text;
  for (const auto& [stage, cost] : stages.items())
    if (at(cost, "packets") != 0)
      text +=
          fmt::format("{}{} {}", text.empty() ? "" : ", ", stage, one_decimal(at(cost, "cycles_per_packet")));
  return fmt::format("worker {}: {} cycles a packet\n", plain_text(at(worker, "worker")),
                     text.empty() ? "no" : text);
}

}  // namespace vmnat::ctl
