// SPDX-License-Identifier: Apache-2.0
// Text to value and back; see the header for what is accepted.
#include "control/config/values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace vmnat::config {
namespace {

std::string quoted(std::string_view text) {
  return "'" + std::string{text} + "'";
}

tl::unexpected<std::string> is_not(std::string_view text, std::string_view what) {
  return tl::unexpected(quoted(text) + " is not " + std::string{what});
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Takes the digits at the front of `text` as a number; nothing when there are none or too many.
std::optional<std::uint64_t> take_digits(std::string_view& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

struct Unit {
  char letter;
  std::uint64_t size;
};
constexpr std::array kTimeUnits{Unit{'d', 86400}, Unit{'h', 3600}, Unit{'m', 60}, Unit{'s', 1}};
constexpr std::array kSizeUnits{Unit{'T', 1ull << 40}, Unit{'G', 1ull << 30}, Unit{'M', 1ull << 20},
                                Unit{'K', 1ull << 10}};
constexpr std::uint64_t kLongest = 200ull * 365 * 86400;  // two hundred years: no sum below can overflow

const Unit* find_unit(const auto& units, char letter) {
  const auto at = std::find_if(units.begin(), units.end(), [=](const Unit& u) { return u.letter == letter; });
  return at == units.end() ? nullptr : &*at;
}

// The two ends of "a-b"; "a" alone is both.
struct Halves {
  std::string_view first, last;
};
Halves split_range(std::string_view text) {
  const auto dash = text.find('-');
  if (dash == text.npos) return {text, text};
  return {text.substr(0, dash), text.substr(dash + 1)};
}

}  // namespace

Parsed<bool> boolean(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return is_not(text, "true or false");
}

Parsed<std::uint64_t> number(std::string_view text) {
  std::string_view rest = text;
  const auto value = take_digits(rest);
  if (!value || !rest.empty()) return is_not(text, "a whole number");
  return *value;
}

Parsed<std::chrono::seconds> duration(std::string_view text) {
  const auto complaint = is_not(text, "a duration (write 90s, 5m, 2h4m or 1d)");
  std::string_view rest = text;
  std::uint64_t total = 0, smallest = std::numeric_limits<std::uint64_t>::max();
  while (!rest.empty()) {
    const auto count = take_digits(rest);
    const Unit* unit = rest.empty() ? nullptr : find_unit(kTimeUnits, rest.front());
    if (!count || unit == nullptr || unit->size >= smallest) return complaint;
    if (*count > kLongest / unit->size) return tl::unexpected(quoted(text) + " is too long");
    total += *count * unit->size;
    smallest = unit->size;
    rest.remove_prefix(1);
  }
  if (text.empty()) return complaint;
  if (total > kLongest) return tl::unexpected(quoted(text) + " is too long");
  return std::chrono::seconds{total};
}

Parsed<std::chrono::seconds> lease_time(std::string_view text) {
  if (text == "infinite") return kInfiniteLease;
  const auto value = duration(text);
  if (!value) return is_not(text, "a lease time (write 30m, 12h, 7d or infinite)");
  if (*value < std::chrono::minutes{2})
    return tl::unexpected(quoted(text) + " is too short: a lease lasts 2m or more");
  if (*value >= kInfiniteLease) return tl::unexpected(quoted(text) + " is too long (write infinite)");
  return *value;
}

Parsed<ByteSize> byte_size(std::string_view text) {
  std::string_view rest = text;
  const auto count = take_digits(rest);
  const Unit* unit = rest.size() == 1 ? find_unit(kSizeUnits, rest.front()) : nullptr;
  if (!count || unit == nullptr) return is_not(text, "a size (write 512M or 2G)");
  if (*count > (1ull << 50) / unit->size) return tl::unexpected(quoted(text) + " is too much");
  return ByteSize{*count * unit->size};
}

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
  if (value->address == value->first()) return *value;
  return tl::unexpected(quoted(text) + " has bits set beyond its prefix length (did you mean " +
                        net::to_string(net::Ipv4Prefix{value->first(), value->length}) + "?)");
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

Parsed<net::Endpoint> endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  const auto address = colon == text.npos ? std::nullopt : net::parse_ipv4(text.substr(0, colon));
  const auto port = colon == text.npos ? l4_port("") : l4_port(text.substr(colon + 1));
  if (!address || !port) return is_not(text, "an address with a port (write 192.168.122.10:80)");
  return net::Endpoint{*address, *port};
}

Parsed<std::string> any_text(std::string_view text) {
  if (text.empty()) return tl::unexpected(std::string{"must not be empty"});
  if (text.find('\0') != text.npos) return tl::unexpected(std::string{"contains a NUL character"});
  return std::string{text};
}

Parsed<std::string> boot_file(std::string_view text) {
  constexpr std::size_t kLongest = 255;  // RFC 2132 section 9.5: option 67
  if (text.size() > kLongest)
    return tl::unexpected("a boot file's name has at most 255 bytes, this one has " +
                          std::to_string(text.size()));
  return any_text(text);
}

Parsed<std::string> identifier(std::string_view text) {
  const bool valid = std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || c == '-' || c == '_' || c == '.';
  });
  if (text.empty() || text.size() > 63 || !valid || !is_alphanumeric(text.front()))
    return is_not(text,
                  "a name (1 to 63 of letters, digits, '-', '_', '.', starting with a letter or digit)");
  return std::string{text};
}

Parsed<std::string> host_name(std::string_view text) {
  const bool valid =
      std::all_of(text.begin(), text.end(), [](char c) { return is_alphanumeric(c) || c == '-'; });
  if (text.empty() || text.size() > 63 || !valid || text.front() == '-' || text.back() == '-')
    return is_not(text, "a host name (1 to 63 of letters, digits and '-')");
  return std::string{text};
}

Parsed<std::string> domain_name(std::string_view text) {
  const auto complaint = is_not(text, "a domain name (write lab.example)");
  if (text.empty() || text.size() > 253) return complaint;
  for (std::string_view rest = text;;) {
    const auto dot = rest.find('.');
    if (!host_name(rest.substr(0, dot))) return complaint;
    if (dot == rest.npos) return std::string{text};
    rest.remove_prefix(dot + 1);
  }
}

Parsed<std::string> absolute_path(std::string_view text) {
  if (!text.starts_with('/') || text.find('\0') != text.npos) return is_not(text, "an absolute path");
  return std::string{text};
}

Parsed<std::string> socket_path(std::string_view text) {
  constexpr std::size_t kLongestPath = 107;  // sizeof(sockaddr_un::sun_path) less the final NUL
  if (text.size() > kLongestPath)
    return tl::unexpected("the path of a socket has at most 107 characters, this one has " +
                          std::to_string(text.size()));
  return absolute_path(text);
}

Parsed<std::string> device_name(std::string_view text) {
  constexpr std::size_t kLongestInterface = 15;  // IFNAMSIZ less the final NUL
  const bool has_space = std::any_of(text.begin(), text.end(), [](char c) { return c >= 0 && c <= ' '; });
  const bool is_interface = device_kind(text) == DeviceKind::KernelInterface;
  const bool bad_interface =
      text.size() > kLongestInterface || text.find('/') != text.npos || text == "." || text == "..";
  if (text.empty() || has_space || (is_interface && bad_interface))
    return is_not(text,
                  "a device (a PCI address, a kernel interface of at most 15 characters, or DPDK devargs)");
  return std::string{text};
}

Parsed<std::string> hex_bytes(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(&text[i], &text[i] + 2, value, 16);
    if (error != std::errc{} || end != &text[i] + 2) return is_not(text, "hexadecimal bytes (write 0a0b)");
    bytes += static_cast<char>(value);
  }
  if (text.empty() || text.size() % 2 != 0) return is_not(text, "hexadecimal bytes (write 0a0b)");
  return bytes;
}

std::string to_text(std::chrono::seconds duration) {
  if (duration == kInfiniteLease) return "infinite";
  std::string text;
  auto left = static_cast<std::uint64_t>(duration.count());
  for (const Unit& unit : kTimeUnits) {
    if (left / unit.size != 0) text += std::to_string(left / unit.size) + unit.letter;
    left %= unit.size;
  }
  return text.empty() ? "0s" : text;
}

std::string to_text(ByteSize size) {
  for (const Unit& unit : kSizeUnits)
    if (size.bytes != 0 && size.bytes % unit.size == 0)
      return std::to_string(size.bytes / unit.size) + unit.letter;
  return std::to_string(size.bytes / 1024) + "K";
}

std::string to_text(const AddressRange& range) {
  const std::string first = net::to_string(range.first);
  return range.first == range.last ? first : first + "-" + net::to_string(range.last);
}

std::string to_text(const PortRange& range) {
  const std::string first = std::to_string(range.first.host());
  return range.first == range.last ? first : first + "-" + std::to_string(range.last.host());
}

}  // namespace vmnat::config
