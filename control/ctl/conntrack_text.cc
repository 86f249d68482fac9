// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/conntrack_text.h"

#include <algorithm>
#include <fmt/format.h>

#include "control/ctl/json_at.h"
#include "control/ctl/table.h"
#include "net/protocol.h"

namespace vmnat::ctl {
namespace {

using nlohmann::json;

// "A.B.C.D:port" in two; the port is empty for protocols without.
struct Split {
  std::string address, port;
};
Split split(const json& endpoint) {
  const std::string text = plain_text(endpoint);
  const auto colon = text.find(':');
  return colon == std::string::npos ? Split{text, ""} : Split{text.substr(0, colon), text.substr(colon + 1)};
}

// One direction of a session. ICMP queries have an identifier instead of ports.
std::string direction(const Split& from, const Split& to, bool is_icmp, std::string_view icmp_type) {
  std::string text = "src=" + from.address + " dst=" + to.address;
  const std::string& identifier = from.port.empty() ? to.port : from.port;
  if (is_icmp) return text + fmt::format(" type={} code=0 id={}", icmp_type, identifier);
  if (!from.port.empty() || !to.port.empty()) text += " sport=" + from.port + " dport=" + to.port;
  return text;
}

std::string packet_counts(const json& session, std::string_view packets, std::string_view bytes) {
  std::string text;
  if (at(session, packets).is_number()) text += " packets=" + at(session, packets).dump();
  if (at(session, bytes).is_number()) text += " bytes=" + at(session, bytes).dump();
  return text;
}

// vmnat's states and the kernel's.
struct StateName {
  std::string_view state, kernel;
};
constexpr StateName kStateNames[] = {
    {"syn_sent", "SYN_SENT"},         {"syn_received", "SYN_SENT"},   {"syn_crossed", "SYN_SENT2"},
    {"syn_acknowledged", "SYN_RECV"}, {"established", "ESTABLISHED"}, {"fin_outbound", "FIN_WAIT"},
    {"fin_inbound", "CLOSE_WAIT"},    {"closing", "TIME_WAIT"},       {"reset", "CLOSE"},
    {"picked_up", "ESTABLISHED"}};

std::string kernel_state(const json& session) {
  const std::string state = plain_text(at(session, "state"));
  const auto* const found = std::ranges::find(kStateNames, state, &StateName::state);
  return found == std::end(kStateNames) ? "NONE" : std::string{found->kernel};
}

// What of a line both kinds have, and what each has of its own.
struct Shows {
  bool time_and_state, counts;
};

std::string line_of(const json& session, Shows shows) {
  const std::string protocol = plain_text(at(session, "protocol"));
  const auto number = net::parse_protocol(protocol).value_or(net::Protocol{0});
  const bool is_named = !net::name_of(number).empty(), is_icmp = number == net::Protocol::Icmp;
  const bool is_answered = at(session, "packets_in") != 0;
  const Split internal = split(at(session, "internal")), external = split(at(session, "external")),
              remote = split(at(session, "remote"));
  const auto counts = [&](std::string_view packets, std::string_view bytes) {
    return shows.counts ? packet_counts(session, packets, bytes) : std::string{};
  };
  std::string text = fmt::format("{:<8} {}", is_named ? protocol : "unknown", static_cast<unsigned>(number));
  if (shows.time_and_state) {
    const json& expires = at(session, "expires_s");
    text += fmt::format(" {}", expires.is_number() ? static_cast<std::int64_t>(expires.get<double>()) : 0);
    if (number == net::Protocol::Tcp) text += " " + kernel_state(session);
  }
  text += " " + direction(internal, remote, is_icmp, "8") + counts("packets_out", "bytes_out");
  if (!is_answered) text += " [UNREPLIED]";
  text += " " + direction(remote, external, is_icmp, "0") + counts("packets_in", "bytes_in");
  if (is_answered) text += " [ASSURED]";
  return text;
}

}  // namespace

std::string conntrack_line(const json& session) {
  return line_of(session, {.time_and_state = true, .counts = true}) + " mark=0 use=1\n";
}

std::string conntrack_event_line(const json& event) {
  const std::string word = plain_text(at(event, "event"));
  const bool is_end = word == "destroy";
  return fmt::format("{:>9} {}\n",
                     is_end          ? "[DESTROY]"
                     : word == "new" ? "[NEW]"
                                     : "[UPDATE]",
                     line_of(event, {.time_and_state = !is_end, .counts = is_end}));
}

}  // namespace vmnat::ctl
