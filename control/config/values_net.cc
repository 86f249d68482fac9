// SPDX-License-Identifier: Apache-2.0
// Addresses and ports: text to value and back; see the header for what is accepted.
#include <bit>

#include "control/config/values.h"

namespace vmnat::config {
namespace {

Parsed<net::Ipv4Prefix> without_host_bits(const net::Ipv4Prefix& value, std::string_view text) {
  if (value.address == value.first()) return value;
  return tl::unexpected(quoted(text) + " has bits set beyond its prefix length (did you mean " +
                        net::to_string(net::Ipv4Prefix{value.first(), value.length}) + "?)");
}

// The two ends of "a-b"; "a" alone is both.
struct Halves {
  std::string_view first, last;
};
Halves split_range(std::string_view text) {
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return {text, text};
  return {text.substr(0, dash), text.substr(dash + 1)};
}

}  // namespace

Parsed<net::MacAddr> unicast_mac(std::string_view text) {
  const auto mac = net::parse_mac(text);
  if (!mac) return is_not(text, "a MAC address (write 52:54:00:12:34:56)");
  if (mac->is_group())
    return tl::unexpected(quoted(text) + " is a group (multicast or broadcast) MAC address");
  if (mac->is_zero()) return tl::unexpected(quoted(text) + " is the zero MAC address");
  return *mac;
}

Parsed<net::Ipv4Addr> host_address(std::string_view text) {
  const auto address = net::parse_ipv4(text);
  if (!address) return is_not(text, "an IPv4 address (write 192.168.122.1)");
  switch (address->kind()) {
    case net::AddressKind::Multicast:
      return tl::unexpected(quoted(text) + " is a multicast address");
    case net::AddressKind::Loopback:
      return tl::unexpected(quoted(text) + " is a loopback address");
    case net::AddressKind::ThisNetwork:
    case net::AddressKind::ProtocolAssignment:
      return tl::unexpected(quoted(text) + " is not an address that a host can have");
    case net::AddressKind::Reserved:
    case net::AddressKind::LimitedBroadcast:
      return tl::unexpected(quoted(text) + " is a reserved address");
    case net::AddressKind::LinkLocal:
    case net::AddressKind::Unicast:
      break;
  }
  return *address;
}

Parsed<net::Ipv4Prefix> prefix(std::string_view text) {
  const auto value = net::parse_ipv4_prefix(text);
  if (!value) return is_not(text, "an address with its prefix length (write 192.168.122.1/24)");
  const auto address = host_address(text.substr(0, text.find('/')));
  if (!address) return tl::unexpected(address.error());
  return *value;
}

Parsed<net::Ipv4Prefix> route_prefix(std::string_view text) {
  const auto value = net::parse_ipv4_prefix(text);
  if (!value) return is_not(text, "a destination (write 10.0.0.0/8)");
  return without_host_bits(*value, text);
}

Parsed<net::Ipv4Prefix> address_block(std::string_view text) {
  if (const auto address = net::parse_ipv4(text)) return net::Ipv4Prefix{*address, 32};
  const auto value = net::parse_ipv4_prefix(text);
  if (!value) return is_not(text, "an address or a block of them (write 192.0.2.5 or 10.0.0.0/8)");
  return without_host_bits(*value, text);
}

std::string address_block_text(const net::Ipv4Prefix& block) {
  return block.length == 32 ? net::to_string(block.address) : net::to_string(block);
}

Parsed<AddressRange> address_range(std::string_view text) {
  const auto [first_text, last_text] = split_range(text);
  if (!net::parse_ipv4(first_text) || !net::parse_ipv4(last_text))
    return is_not(text, "an address or a range of them (write 192.0.2.5 or 192.0.2.5-192.0.2.9)");
  const auto first = host_address(first_text), last = host_address(last_text);
  if (!first) return tl::unexpected(first.error());
  if (!last) return tl::unexpected(last.error());
  if (*last < *first) return tl::unexpected(quoted(text) + " is reversed: its end is before its start");
  return AddressRange{*first, *last};
}

Parsed<net::L4Port> l4_port(std::string_view text) {
  const auto value = number(text);
  if (!value || *value == 0 || *value > 65535) return is_not(text, "a port (1 to 65535)");
  return net::L4Port::from_host(static_cast<std::uint16_t>(*value));
}

Parsed<PortRange> port_range(std::string_view text) {
  const auto [first_text, last_text] = split_range(text);
  const auto first = l4_port(first_text), last = l4_port(last_text);
  if (!first || !last)
    return is_not(text, "a port or a range of them (write 5060 or 5000-5100, within 1-65535)");
  if (*last < *first) return tl::unexpected(quoted(text) + " is reversed: its end is before its start");
  return PortRange{*first, *last};
}

Parsed<PortRange> unprivileged_ports(std::string_view text) {
  auto range = port_range(text);
  if (range && range->first.host() < 1024)
    return tl::unexpected(quoted(text) + " goes below 1024: those ports are never given to VMs");
  return range;
}

Parsed<net::Endpoint> endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  const auto address =
      colon == std::string_view::npos ? std::nullopt : net::parse_ipv4(text.substr(0, colon));
  const auto port = colon == std::string_view::npos ? l4_port("") : l4_port(text.substr(colon + 1));
  if (!address || !port) return is_not(text, "an address with a port (write 192.168.122.10:80)");
  return net::Endpoint{*address, *port};
}

Parsed<net::Endpoint> resolver(std::string_view text) {
  constexpr auto kDns = net::L4Port::from_host(53);
  const auto colon = text.find(':');
  const auto address = net::parse_ipv4(text.substr(0, colon));
  const auto port =
      colon == std::string_view::npos ? Parsed<net::L4Port>{kDns} : l4_port(text.substr(colon + 1));
  const auto kind = address ? address->kind() : net::AddressKind::Reserved;
  const bool is_host = kind == net::AddressKind::Unicast || kind == net::AddressKind::Loopback ||
                       kind == net::AddressKind::LinkLocal;
  if (!address || !port || !is_host) return is_not(text, "a resolver (write 9.9.9.9, or 127.0.0.1:5353)");
  return net::Endpoint{*address, *port};
}

std::string resolver_text(const net::Endpoint& resolver) {
  const std::string address = net::to_string(resolver.address);
  return resolver.port.host() == 53 ? address : address + ':' + std::to_string(resolver.port.host());
}

Parsed<HostService> host_service(std::string_view text) {
  const auto slash = text.find('/');
  const auto protocol = word<net::Protocol>(text.substr(0, slash));
  if (!protocol || slash == std::string_view::npos)
    return is_not(text, "a service (write tcp/22, or udp/5000-5100)");
  return port_range(text.substr(slash + 1)).map([&](const PortRange& ports) {
    return HostService{*protocol, ports};
  });
}

Parsed<net::Protocol> ip_protocol(std::string_view text) {
  if (const auto protocol = net::parse_protocol(text)) return *protocol;
  return is_not(text, "a protocol (tcp, udp, icmp or a number up to 255)");
}

Parsed<RuleRemote> rule_remote(std::string_view text) {
  using Kind = RuleRemote::Kind;
  const auto named = [&](Kind kind, std::string_view name) {
    return identifier(name).map([&](std::string good) { return RuleRemote{kind, {}, std::move(good)}; });
  };
  constexpr std::string_view kPort = "port:", kNetwork = "network:";
  if (text.starts_with(kPort)) return named(Kind::Port, text.substr(kPort.size()));
  if (text.starts_with(kNetwork)) return named(Kind::Network, text.substr(kNetwork.size()));
  if (const auto address = net::parse_ipv4(text)) return RuleRemote{Kind::Prefix, {*address, 32}, {}};
  if (!net::parse_ipv4_prefix(text))
    return is_not(text, "a remote (write 198.51.100.0/24, 198.51.100.7, port:NAME or network:NAME)");
  return route_prefix(text).map([](const net::Ipv4Prefix& prefix) {
    return RuleRemote{Kind::Prefix, prefix, {}};
  });
}

Parsed<std::uint16_t> port_block(std::string_view text) {
  constexpr std::uint64_t kSmallest = 64, kLargest = 4096;
  const auto ports = number(text);
  if (!ports || (*ports != 0 && (*ports < kSmallest || *ports > kLargest || !std::has_single_bit(*ports))))
    return is_not(text, "0, nor a power of two from 64 to 4096");
  return static_cast<std::uint16_t>(*ports);
}

Parsed<LogTarget> log_target(std::string_view text) {
  using Kind = LogTarget::Kind;
  const auto colon = text.find(':');
  const std::string_view word = text.substr(0, colon);
  const std::string_view rest = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (word == "json" && !rest.empty())
    return absolute_path(rest).map([](std::string path) {
      return LogTarget{Kind::Json, std::move(path), {}, {}};
    });
  if (text == "syslog") return LogTarget{Kind::Syslog, {}, {}, {}};
  if (word != "syslog" && word != "ipfix")
    return is_not(text,
                  "a target (write json:/var/log/vmnat/translations.json, syslog, syslog:HOST:514 or "
                  "ipfix:HOST:4739)");
  const auto last = rest.rfind(':');
  const std::string_view host = rest.substr(0, last);
  const auto port = l4_port(last == std::string_view::npos ? "" : rest.substr(last + 1));
  if (!port) return tl::unexpected(port.error());
  if (host.empty() || host.find(':') != std::string_view::npos)
    return is_not(text, "a target: a host's name or IPv4 address, and a port");
  return LogTarget{
      word == "ipfix" ? Kind::Ipfix : Kind::Syslog, {}, std::string{host}, std::to_string(port->host())};
}

std::string to_text(const LogTarget& target) {
  if (target.kind == LogTarget::Kind::Json) return "json:" + target.path;
  const std::string word = target.kind == LogTarget::Kind::Ipfix ? "ipfix" : "syslog";
  return target.host.empty() ? word : word + ':' + target.host + ':' + target.port;
}

std::string to_text(const RuleRemote& remote) {
  switch (remote.kind) {
    case RuleRemote::Kind::Port:
      return "port:" + remote.name;
    case RuleRemote::Kind::Network:
      return "network:" + remote.name;
    case RuleRemote::Kind::Prefix:
      break;
  }
  return net::to_string(remote.prefix);
}

std::string to_text(const FilterRule& rule) {
  std::string text = std::string{to_word(rule.direction)} + ' ' + std::string{to_word(rule.action)};
  if (rule.protocol) text += ' ' + net::to_string(*rule.protocol);
  if (rule.remote) text += ", remote " + to_text(*rule.remote);
  if (rule.local_port) text += ", local port " + to_text(*rule.local_port);
  if (rule.remote_port) text += ", remote port " + to_text(*rule.remote_port);
  if (rule.icmp_type) text += ", ICMP type " + std::to_string(*rule.icmp_type);
  return text;
}

std::string to_text(const AddressRange& range) {
  const std::string first = net::to_string(range.first);
  return range.first == range.last ? first : first + "-" + net::to_string(range.last);
}

std::string to_text(const PortRange& range) {
  const std::string first = std::to_string(range.first.host());
  return range.first == range.last ? first : first + "-" + std::to_string(range.last.host());
}

std::string to_text(const HostService& service) {
  return std::string{to_word(service.protocol)} + '/' + to_text(service.ports);
}

}  // namespace vmnat::config
