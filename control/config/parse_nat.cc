// SPDX-License-Identifier: Apache-2.0
// The section networks[].nat.
#include "control/config/parse.h"

namespace vmnat::config {
namespace {

constexpr std::uint64_t kNoLimit = 0xffffffff;

Parsed<PortRange> unprivileged_range(std::string_view text) {
  auto range = port_range(text);
  if (range && range->first.host() < 1024)
    return tl::unexpected("'" + std::string{text} + "' goes below 1024: those ports are never given to VMs");
  return range;
}

Parsed<std::chrono::seconds> timeout(std::string_view text) {
  const auto value = duration(text);
  if (value && (*value < std::chrono::seconds{1} || *value > std::chrono::hours{24 * 30}))
    return tl::unexpected("'" + std::string{text} + "' is not between 1s and 30d");
  return value;
}

Parsed<std::optional<std::uint16_t>> mss_clamp(std::string_view text) {
  if (text == "off") return 0;
  return unless("auto", number_within<std::uint16_t>(536, 9560))(text);
}

void parse_timeouts(Section& section, Timeouts& into) {
  section.optional("tcp_established", into.tcp_established, timeout);
  section.optional("tcp_transitory", into.tcp_transitory, timeout);
  section.optional("udp", into.udp, timeout);
  section.optional("udp_answered", into.udp_answered, timeout);
  section.optional("icmp", into.icmp, timeout);
  section.optional("other", into.other, timeout);
}

void parse_limits(Section& section, Limits& into) {
  section.optional("sessions_per_port", into.sessions_per_port, number_within<std::uint32_t>(0, kNoLimit));
  section.optional("new_sessions_per_second", into.new_sessions_per_second,
                   number_within<std::uint32_t>(0, kNoLimit));
}

void parse_forward(Section& section, PortForward& into) {
  section.required("protocol", into.protocol, word<net::Protocol>);
  section.optional("address", into.address, unless("all", host_address));
  section.required("port", into.port, l4_port);
  section.required("to", into.to, endpoint);
}

}  // namespace

void parse_nat(Section& section, Nat& into) {
  if (section.list("addresses", into.addresses, address_range, "uplink") && into.addresses.empty())
    section.findings().complain_at(section.path_of("addresses"),
                                   "addresses: at least one is needed (or 'uplink')");
  section.optional("ports", into.ports, unprivileged_range);
  section.list("reserved_ports", into.reserved_ports, port_range);
  section.optional("mapping", into.mapping, word<Mapping>);
  section.optional("filtering", into.filtering, word<Filtering>);
  section.optional("overload", into.overload, boolean);
  section.optional("tcp_mid_stream", into.tcp_mid_stream, word<TcpMidStream>);
  section.optional("mss_clamp", into.mss_clamp, mss_clamp);
  section.optional("exhaustion_icmp", into.exhaustion_icmp, word<ExhaustionIcmp>);
  section.section("timeouts", into.timeouts, parse_timeouts);
  section.section("limits", into.limits, parse_limits);
  section.sections("forwards", into.forwards, parse_forward);
}

}  // namespace vmnat::config
