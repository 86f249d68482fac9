// SPDX-License-Identifier: Apache-2.0
// The section networks[].dhcp. Defaults: the whole network for ranges, the host's resolvers for dns.
#include "control/config/parse.h"

namespace vmnat::config {
namespace {

constexpr std::size_t kLongestOption = 255;  // RFC 2132 section 2: one byte of length

void parse_route(Section& section, DhcpRoute& into) {
  section.required("to", into.to, route_prefix);
  section.required("via", into.via, host_address);
}

void parse_boot_file(Section& section, DhcpBootFile& into) {
  section.required("arch", into.arch, number_within<std::uint16_t>(0, 0xffff));
  section.required("file", into.file, boot_file);
}

void parse_boot(Section& section, DhcpBoot& into) {
  section.required("server", into.server, host_address);
  section.required("file", into.file, boot_file);
  section.optional("ipxe", into.ipxe, boot_file);
  section.sections("by_arch", into.by_arch, parse_boot_file);
}

void parse_option(Section& section, DhcpOption& into) {
  section.required("code", into.code, number_within<std::uint8_t>(1, 254));
  section.optional("text", into.bytes, any_text);
  section.optional("hex", into.bytes, hex_bytes);
  if (section.given("text") == section.given("hex"))
    section.findings().complain(section.at(), "an option has exactly one of text and hex");
  if (into.bytes.size() > kLongestOption)
    section.findings().complain(
        section.at(), "an option has at most 255 bytes, this one has " + std::to_string(into.bytes.size()));
}

void parse_reservation(Section& section, Reservation& into) {
  section.optional("mac", into.mac, [](std::string_view text) {
    return unicast_mac(text).map([](net::MacAddr mac) { return std::optional{mac}; });
  });
  section.optional("port", into.port, identifier);
  if (section.given("mac") == section.given("port"))
    section.findings().complain(section.at(), "a reservation is for exactly one of mac and port");
  section.required("address", into.address, host_address);
  section.optional("hostname", into.hostname, host_name);
}

void parse_limits(Section& section, DhcpLimits& into) {
  const auto limit = unless("auto", number_within<std::uint32_t>(0, 0xffffffff));
  section.optional("leases_per_port", into.leases_per_port, limit);
  section.optional("messages_per_second", into.messages_per_second, limit);
}

void parse_exports(Section& section, DhcpExports& into) {
  section.optional("dnsmasq", into.dnsmasq, unless("off", absolute_path));
  section.optional("libvirt", into.libvirt, unless("off", absolute_path));
}

Parsed<std::string> domain_or_none(std::string_view text) {
  return text.empty() ? Parsed<std::string>{""} : domain_name(text);
}

}  // namespace

void parse_dhcp(Section& section, Dhcp& into, const Network& network, const Resolvers& resolvers) {
  if (!section.list("ranges", into.ranges, address_range, "auto") && network.address.length < 31)
    into.ranges = {host_range(network.address)};
  section.optional("lease_time", into.lease_time, lease_time);
  into.dns_is_default = !section.list("dns", into.dns, host_address, "host");
  if (into.dns_is_default) into.dns = resolvers();
  section.optional("domain", into.domain, domain_or_none);
  section.list("search", into.search, domain_name);
  section.list("ntp", into.ntp, host_address);
  section.sections("routes", into.routes, parse_route);
  if (DhcpBoot boot; section.section("boot", boot, parse_boot, "none")) into.boot = boot;
  section.sections("options", into.options, parse_option);
  section.sections("reservations", into.reservations, parse_reservation);
  section.optional("identity", into.identity, word<Identity>);
  section.optional("check_before_offer", into.check_before_offer, boolean);
  section.section("limits", into.limits, parse_limits);
  section.section("exports", into.exports, parse_exports);
}

}  // namespace vmnat::config
