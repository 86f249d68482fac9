// SPDX-License-Identifier: Apache-2.0
// One scalar's text to its value, or a sentence about what is wrong with it (without the key's name).
//
// Example: duration("2h4m") is 7440 s; duration("2x") answers "'2x' is not a duration (write 90s, 5m, 2h4m or
// 1d)". The functions know nothing of YAML: vmnatctl uses some of them on its arguments. The `to_text`
// functions are their inverses, used to write a configuration back.
#pragma once

#include <chrono>
#include <concepts>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "control/config/words.h"

namespace vmnat::config {

template <typename T>
using Parsed = tl::expected<T, std::string>;

inline std::string quoted(std::string_view text) {
  return "'" + std::string{text} + "'";
}
// "'2x' is not a duration"
inline tl::unexpected<std::string> is_not(std::string_view text, std::string_view what) {
  return tl::unexpected(quoted(text) + " is not " + std::string{what});
}

// VLANs are numbered from 1 to this (IEEE 802.1Q table 9-2).
inline constexpr std::uint16_t kLastVlan = 4094;
inline constexpr unsigned kMostQueues = 64;  // pairs, of a port or uplink

Parsed<bool> boolean(std::string_view text);
Parsed<std::uint64_t> number(std::string_view text);
Parsed<std::uint64_t> number_within(std::string_view text, std::uint64_t lowest, std::uint64_t highest);
Parsed<std::chrono::seconds> duration(std::string_view text);    // "90s", "2h4m", "1d"; a unit is required
Parsed<std::chrono::seconds> timeout(std::string_view text);     // a duration of 1s to 30d
Parsed<std::chrono::seconds> lease_time(std::string_view text);  // a duration from 2m on, or "infinite"
Parsed<ByteSize> byte_size(std::string_view text);               // "512M", "1G", "65536K"; binary units
Parsed<BitRate> bit_rate(std::string_view text);  // "100M", "2500K", "8000"; decimal units, 8K to 1T

Parsed<net::MacAddr> unicast_mac(std::string_view text);
Parsed<net::Ipv4Addr> host_address(std::string_view text);     // an address that one host can have
Parsed<net::Ipv4Prefix> prefix(std::string_view text);         // "a.b.c.d/len", host bits allowed
Parsed<net::Ipv4Prefix> route_prefix(std::string_view text);   // no host bits
Parsed<net::Ipv4Prefix> address_block(std::string_view text);  // "a" or "a.b.c.d/len", no host bits
Parsed<AddressRange> address_range(std::string_view text);     // "a" or "a-b"
Parsed<net::L4Port> l4_port(std::string_view text);            // 1-65535
Parsed<std::uint16_t> port_block(std::string_view text);       // 0, or a power of two from 64 to 4096
Parsed<PortRange> port_range(std::string_view text);           // "p" or "p-q"
Parsed<PortRange> unprivileged_ports(std::string_view text);   // from 1024 on
Parsed<net::Endpoint> endpoint(std::string_view text);         // "a.b.c.d:port"
Parsed<net::Endpoint> resolver(std::string_view text);         // "a.b.c.d" or "a.b.c.d:port"; may be loopback
Parsed<HostService> host_service(std::string_view text);       // "tcp/p" or "udp/p-q"
Parsed<RuleRemote> rule_remote(
    std::string_view text);  // "a.b.c.d", "a.b.c.d/len", "port:NAME" or "network:NAME"
Parsed<net::Protocol> ip_protocol(std::string_view text);  // a name, or 0 to 255
Parsed<LogTarget> log_target(
    std::string_view text);  // "json:/path", "syslog", "syslog:host:514", "ipfix:host:4739"

Parsed<std::string> any_text(std::string_view text);  // not empty
Parsed<std::string> text_or_none(std::string_view text);
Parsed<std::string> boot_file(std::string_view text);    // a path or URL that an option can hold
Parsed<std::string> identifier(std::string_view text);   // letters, digits, "-", "_", "."; at most 63
Parsed<std::string> domain_name(std::string_view text);  // RFC 1123 section 2.1; at most 253
Parsed<std::string> domain_or_none(std::string_view text);
Parsed<std::string> host_name(std::string_view text);  // one label of it; at most 63
Parsed<std::string> txt_record(
    std::string_view text);  // RFC 1035: one string of it; printable, no quote or backslash
Parsed<std::string> absolute_path(std::string_view text);
Parsed<std::string> socket_path(std::string_view text);     // what fits in sockaddr_un: 107 bytes
Parsed<std::string> vhost_socket(std::string_view text);    // likewise, or a relative path without ".."
Parsed<FileMode> file_mode(std::string_view text);          // "0770" or "770"
Parsed<std::string> device_name(std::string_view text);     // PCI address, kernel interface or DPDK devargs
Parsed<std::string> interface_name(std::string_view text);  // a kernel interface
Parsed<std::string> hex_bytes(std::string_view text);       // "0a0b" is two bytes
Parsed<std::string> option_text(std::string_view text);     // what a DHCP option can hold: 1 to 255 bytes
Parsed<std::string> option_bytes(std::string_view text);
std::string hex_text(const std::string& bytes);  // the inverse of hex_bytes

// One of the words of the enumeration E.
template <typename E>
Parsed<E> word(std::string_view text) {
  std::string all;
  for (const auto& candidate : words_of(E{})) {
    if (candidate.text == text) return candidate.value;
    all += (all.empty() ? "" : ", ") + std::string{candidate.text};
  }
  return is_not(text, "one of: " + all);
}

std::string to_text(std::chrono::seconds duration);  // "2h4m"
std::string to_text(ByteSize size);                  // "512M"
std::string to_text(BitRate rate);                   // "100M"
std::string to_text(FileMode mode);                  // "0770"
std::string to_text(const AddressRange& range);      // "a" when both ends are the same
std::string to_text(const PortRange& range);
std::string to_text(const HostService& service);
std::string to_text(const LogTarget& target);
std::string to_text(const RuleRemote& remote);
// "in accept tcp, remote 198.51.100.0/24, local port 22"
std::string to_text(const FilterRule& rule);
std::string address_block_text(const net::Ipv4Prefix& block);  // the inverse of address_block()
std::string resolver_text(const net::Endpoint& resolver);      // the inverse of resolver()
inline std::string to_text(std::uint16_t number) {
  return std::to_string(number);
}
inline std::string to_text(const std::string& text) {
  return text;
}
inline std::string to_text(net::L4Port port) {
  return std::to_string(port.host());
}
inline std::string to_text(std::same_as<bool> auto value) {
  return value ? "true" : "false";
}

}  // namespace vmnat::config
