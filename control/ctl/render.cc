// SPDX-License-Identifier: Apache-2.0
// One function per form of output.
#include "control/ctl/render.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "net/protocol.h"

namespace vmnat::ctl {
namespace {

const Json kNothing;

// object[a][b]..., or null.
template <typename... Keys>
const Json& at(const Json& object, std::string_view key, Keys... further) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  const Json& value = found == object.end() ? kNothing : *found;
  if constexpr (sizeof...(further) == 0)
    return value;
  else
    return at(value, further...);
}

std::string expiry(const Json& time) {
  return time.is_null() ? "never" : plain_text(time);
}

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

// "A.B.C.D:port" in two; the port is empty for protocols without.
struct Split {
  std::string address, port;
};
Split split(const Json& endpoint) {
  const std::string text = plain_text(endpoint);
  const auto colon = text.find(':');
  return colon == text.npos ? Split{text, ""} : Split{text.substr(0, colon), text.substr(colon + 1)};
}

// One direction of a session. ICMP queries have an identifier instead of ports.
std::string direction(const Split& from, const Split& to, bool is_icmp, std::string_view icmp_type) {
  std::string text = "src=" + from.address + " dst=" + to.address;
  const std::string& identifier = from.port.empty() ? to.port : from.port;
  if (is_icmp) return text + fmt::format(" type={} code=0 id={}", icmp_type, identifier);
  if (!from.port.empty() || !to.port.empty()) text += " sport=" + from.port + " dport=" + to.port;
  return text;
}

std::string packet_counts(const Json& session, std::string_view packets, std::string_view bytes) {
  std::string text;
  if (at(session, packets).is_number()) text += " packets=" + at(session, packets).dump();
  if (at(session, bytes).is_number()) text += " bytes=" + at(session, bytes).dump();
  return text;
}

std::string upper(std::string text) {
  for (char& c : text) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// "192.168.122.10,192.168.122.11 +3": what a port owns, by address, or by MAC where it may have any address.
std::string owned_text(const Json& owned) {
  constexpr std::size_t kShown = 2;
  if (!owned.is_array()) return plain_text(owned);
  Json names = Json::array();
  for (const Json& one : owned)
    if (names.size() < kShown) names.push_back(at(one, at(one, "address").is_null() ? "mac" : "address"));
  return plain_text(names) + (owned.size() > kShown ? fmt::format(" +{}", owned.size() - kShown) : "");
}

}  // namespace

std::vector<Column> columns_of(std::string_view command) {
  if (command == "ports")
    return {{"NAME", "name"},     {"NETWORK", "network"}, {"KIND", "kind"},
            {"LINK", "link"},     {"MAC", "mac"},         {"ADDRESS", "address"},
            {"RX", "rx_packets"}, {"TX", "tx_packets"},   {"OWNS", "owns", owned_text},
            {"DROPS", "drops"},   {"REFUSED", "refused"}};
  if (command == "networks")
    return {{"NAME", "name"},       {"ADDRESS", "address"}, {"MAC", "mac"},       {"MTU", "mtu"},
            {"FORWARD", "forward"}, {"PORTS", "ports"},     {"LEASES", "leases"}, {"EXTERNAL", "external"}};
  if (command == "leases")
    return {{"NETWORK", "network"},         {"ADDRESS", "address"},     {"MAC", "mac"},
            {"HOSTNAME", "hostname"},       {"PORT", "port"},           {"STATE", "state"},
            {"EXPIRES", "expires", expiry}, {"RESERVED", "reservation"}};
  if (command == "sessions")
    return {{"NETWORK", "network"},      {"PORT", "port"},          {"PROTO", "protocol"},
            {"INTERNAL", "internal"},    {"EXTERNAL", "external"},  {"REMOTE", "remote"},
            {"STATE", "state"},          {"IDLE_S", "idle_s"},      {"EXPIRES_S", "expires_s"},
            {"PKTS_OUT", "packets_out"}, {"PKTS_IN", "packets_in"}, {"BYTES_OUT", "bytes_out"},
            {"BYTES_IN", "bytes_in"}};
  if (command == "workers")
    return {{"WORKER", "worker"},
            {"CPU", "cpu"},
            {"BUSY", "busy_ratio", percent},
            {"CYCLES/PKT", "cycles_per_packet", one_decimal},
            {"PACKETS", "packets"},
            {"SESSIONS", "sessions"},
            {"HANDOFF", "handoff_ratio", percent}};
  if (command == "invariants") return {{"WORKER", "worker"}, {"HOLDS", "holds"}, {"WHY", "why"}};
  if (command == "forwards")
    return {{"NETWORK", "network"},   {"PROTO", "protocol"}, {"EXTERNAL", "external"},
            {"INTERNAL", "internal"}, {"PORT", "port"},      {"MAC", "mac"}};
  if (command == "exhaustion")
    return {{"REMOTE", "remote"},   {"REFUSED", "refused"}, {"EXCESS", "excess"},
            {"NETWORK", "network"}, {"PORT", "port"},       {"CAUSE", "cause"}};
  if (command == "neighbors")
    return {{"ADDRESS", "address"},
            {"MAC", "mac"},
            {"NETWORK", "network"},
            {"STATE", "state"},
            {"AGE_S", "age_s"}};
  return {};
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

std::string reload_text(const Json& answer) {
  const Json& changed = at(answer, "changed");
  if (!changed.is_array() || changed.empty()) return "nothing has changed\n";
  std::string text;
  for (const Json& change : changed) text += plain_text(change) + "\n";
  return text;
}

std::string dhcp_change_text(std::string_view command, const Json& answer) {
  const std::string address = plain_text(at(answer, "address"));
  if (command == "lease-release")
    return fmt::format("the lease of {} for {} has ended\n", address, plain_text(at(answer, "mac")));
  if (command == "reserve-del") return address + " is no longer reserved\n";
  const bool by_mac = !at(answer, "mac").is_null();
  return fmt::format("{} is reserved for {} {}\n", address, by_mac ? "MAC" : "port",
                     plain_text(at(answer, by_mac ? "mac" : "port")));
}

std::string conntrack_line(const Json& session) {
  const std::string protocol = plain_text(at(session, "protocol"));
  const auto number = net::parse_protocol(protocol).value_or(net::Protocol{0});
  const bool named = !net::name_of(number).empty();
  const Split internal = split(at(session, "internal")), external = split(at(session, "external")),
              remote = split(at(session, "remote"));
  const bool is_tcp = number == net::Protocol::Tcp, is_icmp = number == net::Protocol::Icmp,
             answered = at(session, "packets_in") != 0;

  std::string text = fmt::format("{:<8} {} {}", named ? protocol : "unknown", static_cast<unsigned>(number),
                                 plain_text(at(session, "expires_s")));
  if (is_tcp) text += " " + upper(plain_text(at(session, "state")));
  text +=
      " " + direction(internal, remote, is_icmp, "8") + packet_counts(session, "packets_out", "bytes_out");
  if (!answered) text += " [UNREPLIED]";
  text += " " + direction(remote, external, is_icmp, "0") + packet_counts(session, "packets_in", "bytes_in");
  if (answered) text += " [ASSURED]";
  return text + " mark=0 use=1\n";
}

}  // namespace vmnat::ctl
