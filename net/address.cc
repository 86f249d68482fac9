// SPDX-License-Identifier: Apache-2.0
// Text forms of addresses. Control and tests use them; the packet path never does.
#include "net/address.h"

#include <charconv>

namespace vmnat::net {
namespace {

// Consumes a decimal number 0..max without leading zeros from the front of `text`.
std::optional<unsigned> take_number(std::string_view& text, unsigned max) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const auto length = static_cast<std::size_t>(end - text.data());
  if (error != std::errc{} || value > max || (length > 1 && text[0] == '0')) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

bool take_char(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<Ipv4Addr> take_ipv4(std::string_view& text) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    if (i > 0 && !take_char(text, '.')) return std::nullopt;
    const auto octet = take_number(text, 255);
    if (!octet) return std::nullopt;
    value = (value << 8) | *octet;
  }
  return Ipv4Addr::from_host(value);
}

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return std::nullopt;
}

}  // namespace

std::optional<MacAddr> parse_mac(std::string_view text) {
  if (text.size() != 17) return std::nullopt;
  MacAddr mac;
  for (unsigned i = 0; i < 6; ++i) {
    const auto high = hex_digit(text[3 * i]);
    const auto low = hex_digit(text[3 * i + 1]);
    if (!high || !low || (i < 5 && text[3 * i + 2] != ':')) return std::nullopt;
    mac.bytes[i] = static_cast<std::uint8_t>(*high << 4 | *low);
  }
  return mac;
}

std::optional<Ipv4Addr> parse_ipv4(std::string_view text) {
  const auto address = take_ipv4(text);
  return text.empty() ? address : std::nullopt;
}

std::optional<Ipv4Prefix> parse_ipv4_prefix(std::string_view text) {
  const auto address = take_ipv4(text);
  if (!address || !take_char(text, '/')) return std::nullopt;
  const auto length = take_number(text, 32);
  if (!length || !text.empty()) return std::nullopt;
  return Ipv4Prefix{*address, static_cast<std::uint8_t>(*length)};
}

MacAddr mac_made_from(std::string_view name) {
  std::uint32_t hash = 2166136261u;  // FNV-1a: any fixed hash would do
  for (const char c : name) hash = (hash ^ static_cast<std::uint8_t>(c)) * 16777619u;
  return {{0x52, 0x54, 0x00, static_cast<std::uint8_t>(hash >> 16), static_cast<std::uint8_t>(hash >> 8),
           static_cast<std::uint8_t>(hash)}};
}

std::string to_string(const MacAddr& mac) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (unsigned i = 0; i < 6; ++i) {
    if (i > 0) text += ':';
    text += kDigits[mac.bytes[i] >> 4];
    text += kDigits[mac.bytes[i] & 15];
  }
  return text;
}

std::string to_string(Ipv4Addr address) {
  const std::uint32_t value = address.host();
  return std::to_string(value >> 24) + '.' + std::to_string(value >> 16 & 255) + '.' +
         std::to_string(value >> 8 & 255) + '.' + std::to_string(value & 255);
}

std::string to_string(const Ipv4Prefix& prefix) {
  return to_string(prefix.address) + '/' + std::to_string(prefix.length);
}

std::string to_string(const Endpoint& endpoint) {
  return to_string(endpoint.address) + ':' + std::to_string(endpoint.port.host());
}

}  // namespace vmnat::net
