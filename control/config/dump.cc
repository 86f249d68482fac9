// SPDX-License-Identifier: Apache-2.0
// Writes each section in the order of configs/reference.yaml; lists in flow style, one element a line for
// maps.
#include "control/config/dump.h"

#include <fmt/format.h>

#include "control/config/values.h"

namespace vmnat::config {
namespace {

using net::to_string;

// Double quotes, with everything escaped that is not plain ASCII: the bytes survive any YAML reader.
std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (c >= 0 && c < ' ')
      result += fmt::format("\\x{:02x}", c);
    else
      result += c;
  }
  return result + "\"";
}

template <typename T, typename ToText>
std::string flow_list(const std::vector<T>& values, ToText to_item) {
  std::string text;
  for (const T& value : values) text += (text.empty() ? "" : ", ") + std::string{to_item(value)};
  return "[" + text + "]";
}

template <typename T, typename ToText>
std::string or_word(const std::optional<T>& value, std::string_view word, ToText to_item) {
  return value ? std::string{to_item(*value)} : std::string{word};
}

constexpr auto address_text = [](const auto& value) { return to_string(value); };
constexpr auto number_text = [](const auto& value) { return std::to_string(value); };
constexpr auto range_text = [](const auto& value) { return to_text(value); };

class Writer {
 public:
  template <typename T>
  void key(std::string_view name, const T& value) {
    text_ += fmt::format("{:{}}{}: {}\n", "", indent_, name, value);
  }
  template <typename Body>
  void section(std::string_view name, Body body) {
    text_ += fmt::format("{:{}}{}:\n", "", indent_, name);
    indent_ += 2;
    body();
    indent_ -= 2;
  }
  // A list of maps, each in one line.
  template <typename T, typename ToText>
  void maps(std::string_view name, const std::vector<T>& values, ToText to_item) {
    if (values.empty()) return key(name, "[]");
    section(name, [&] {
      for (const T& value : values) text_ += fmt::format("{:{}}- {{{}}}\n", "", indent_, to_item(value));
    });
  }
  // A list of maps over several lines: `body(value)` writes one, whose first line gets the dash.
  template <typename T, typename Body>
  void blocks(std::string_view name, const std::vector<T>& values, Body body) {
    section(name, [&] {
      indent_ += 2;
      for (const T& value : values) {
        const std::size_t start = text_.size();
        body(value);
        text_[start + indent_ - 2] = '-';
      }
      indent_ -= 2;
    });
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  std::size_t indent_ = 0;
};

void write_dataplane(Writer& out, const Dataplane& dataplane) {
  out.key("workers", dataplane.workers.empty() ? "auto" : flow_list(dataplane.workers, number_text));
  out.key("control_cpu", or_word(dataplane.control_cpu, "auto", number_text));
  out.key("memory", to_text(dataplane.memory));
  out.key("hugepages", to_word(dataplane.hugepages));
  out.key("idle", to_word(dataplane.idle));
  out.key("eal", flow_list(dataplane.eal, quoted));
}

void write_uplink(Writer& out, const Uplink& uplink) {
  out.key("device", quoted(uplink.device));
  out.key("address", or_word(uplink.address, "dhcp", address_text));
  if (uplink.gateway) out.key("gateway", to_string(*uplink.gateway));
  out.key("mac", or_word(uplink.mac, "auto", address_text));
  out.key("mtu", uplink.mtu);
  out.key("queues", or_word(uplink.queues, "auto", number_text));
}

std::string port_line(const VmPort& port) {
  const std::string attached = port.device.empty() ? fmt::format("vhost_user: {}, mode: {}",
                                                                 quoted(port.vhost_user), to_word(port.mode))
                                                   : fmt::format("device: {}", quoted(port.device));
  return fmt::format("name: {}, {}, queues: {}, mac: {}, address: {}, guard: {}, relay: {}",
                     quoted(port.name), attached, port.queues, or_word(port.mac, "any", address_text),
                     or_word(port.address, "any", address_text), to_word(port.guard), port.relay);
}

std::string option_line(const DhcpOption& option) {
  std::string hex;
  for (const char c : option.bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return fmt::format("code: {}, hex: \"{}\"", option.code, hex);
}

std::string reservation_line(const Reservation& reservation) {
  const std::string hostname =
      reservation.hostname.empty() ? "" : ", hostname: " + quoted(reservation.hostname);
  const std::string whose =
      reservation.mac ? "mac: " + to_string(*reservation.mac) : "port: " + quoted(reservation.port);
  return fmt::format("{}, address: {}{}", whose, to_string(reservation.address), hostname);
}

std::string forward_line(const PortForward& forward) {
  return fmt::format("protocol: {}, address: {}, port: {}, to: {}", to_word(forward.protocol),
                     or_word(forward.address, "all", address_text), forward.port.host(),
                     to_string(forward.to));
}

std::string boot_text(const std::optional<DhcpBoot>& boot) {
  if (!boot) return "none";
  const std::string files = flow_list(boot->by_arch, [](const DhcpBootFile& entry) {
    return fmt::format("{{arch: {}, file: {}}}", entry.arch, quoted(entry.file));
  });
  const std::string ipxe = boot->ipxe.empty() ? "" : ", ipxe: " + quoted(boot->ipxe);
  return fmt::format("{{server: {}, file: {}{}, by_arch: {}}}", to_string(boot->server), quoted(boot->file),
                     ipxe, files);
}

void write_dhcp(Writer& out, const Dhcp& dhcp) {
  out.key("ranges", flow_list(dhcp.ranges, range_text));
  out.key("lease_time", to_text(dhcp.lease_time));
  out.key("dns", dhcp.dns_is_default ? "host" : flow_list(dhcp.dns, address_text));
  out.key("domain", quoted(dhcp.domain));
  out.key("search", flow_list(dhcp.search, quoted));
  out.key("ntp", flow_list(dhcp.ntp, address_text));
  out.maps("routes", dhcp.routes, [](const DhcpRoute& route) {
    return fmt::format("to: {}, via: {}", to_string(route.to), to_string(route.via));
  });
  out.key("boot", boot_text(dhcp.boot));
  out.maps("options", dhcp.options, option_line);
  out.maps("reservations", dhcp.reservations, reservation_line);
  out.key("identity", to_word(dhcp.identity));
  out.key("check_before_offer", dhcp.check_before_offer);
  out.section("limits", [&] {
    out.key("leases_per_port", or_word(dhcp.limits.leases_per_port, "auto", number_text));
    out.key("messages_per_second", or_word(dhcp.limits.messages_per_second, "auto", number_text));
  });
  out.section("exports", [&] {
    out.key("dnsmasq", or_word(dhcp.exports.dnsmasq, "off", quoted));
    out.key("libvirt", or_word(dhcp.exports.libvirt, "off", quoted));
  });
}

void write_nat(Writer& out, const Nat& nat) {
  out.key("addresses", nat.addresses.empty() ? "uplink" : flow_list(nat.addresses, range_text));
  out.key("ports", to_text(nat.ports));
  out.key("reserved_ports", flow_list(nat.reserved_ports, range_text));
  out.key("mapping", to_word(nat.mapping));
  out.key("filtering", to_word(nat.filtering));
  out.key("overload", nat.overload);
  out.key("tcp_mid_stream", to_word(nat.tcp_mid_stream));
  out.key("mss_clamp", nat.mss_clamp == 0 ? "off" : or_word(nat.mss_clamp, "auto", number_text));
  out.key("exhaustion_icmp", to_word(nat.exhaustion_icmp));
  out.section("timeouts", [&] {
    out.key("tcp_established", to_text(nat.timeouts.tcp_established));
    out.key("tcp_transitory", to_text(nat.timeouts.tcp_transitory));
    out.key("udp", to_text(nat.timeouts.udp));
    out.key("udp_answered", to_text(nat.timeouts.udp_answered));
    out.key("icmp", to_text(nat.timeouts.icmp));
    out.key("other", to_text(nat.timeouts.other));
  });
  out.section("limits", [&] {
    out.key("sessions_per_port", nat.limits.sessions_per_port);
    out.key("new_sessions_per_second", nat.limits.new_sessions_per_second);
  });
  out.maps("forwards", nat.forwards, forward_line);
}

void write_network(Writer& out, const Network& network) {
  out.key("name", quoted(network.name));
  out.key("address", to_string(network.address));
  out.key("mac", or_word(network.mac, "auto", address_text));
  out.key("mtu", network.mtu);
  out.key("forward", to_word(network.forward));
  out.key("isolated_ports", network.isolated_ports);
  out.maps("ports", network.ports, port_line);
  if (network.dhcp) out.section("dhcp", [&] { write_dhcp(out, *network.dhcp); });
  if (network.forward == Forward::Nat) out.section("nat", [&] { write_nat(out, network.nat); });
}

}  // namespace

std::string dump_config(const Config& config) {
  Writer out;
  out.section("dataplane", [&] { write_dataplane(out, config.dataplane); });
  out.section("uplink", [&] { write_uplink(out, config.uplink); });
  out.blocks("networks", config.networks, [&](const Network& network) { write_network(out, network); });
  out.section("conntrack", [&] { out.key("sessions", config.conntrack.sessions); });
  out.section("control", [&] {
    out.key("socket", quoted(config.control.socket));
    out.key("metrics", or_word(config.control.metrics, "off", address_text));
    out.key("state_dir", quoted(config.control.state_dir));
  });
  return out.take();
}

}  // namespace vmnat::config
