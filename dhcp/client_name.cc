// SPDX-License-Identifier: Apache-2.0
#include "dhcp/client_name.h"

#include <algorithm>

namespace vmnat::dhcp {
namespace {

constexpr std::size_t kLongestName = 253, kLongestLabel = 63;  // RFC 1035 section 2.3.4, in text

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// '_' is in no host name by RFC 952, and in many that are in use.
bool is_label(std::string_view label) {
  const auto is_allowed = [](char c) { return is_alphanumeric(c) || c == '-' || c == '_'; };
  return !label.empty() && label.size() <= kLongestLabel && std::ranges::all_of(label, is_allowed);
}

// The text itself, less a final dot; empty when it is no name.
std::string_view name_in(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty() || text.size() > kLongestName || !is_alphanumeric(text.front())) return {};
  for (std::string_view rest = text;;) {
    const auto dot = rest.find('.');
    if (!is_label(rest.substr(0, dot))) return {};
    if (dot == std::string_view::npos) return text;
    rest.remove_prefix(dot + 1);
  }
}

// RFC 2132 section 2: a text's receiver must be prepared for NULs at its end.
std::string_view name_in(ByteView bytes) {
  const std::string_view text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  return name_in(text.substr(0, text.find('\0')));
}

// Labels up to the root's, or to the end: a name that is not qualified has no root (RFC 4702 section 2.3).
// Compression pointers, which would lead out of the option, are longer than any label.
std::string text_of_labels(ByteView bytes) {
  std::string text;
  while (!bytes.empty() && bytes[0] != std::byte{0}) {
    const auto length = static_cast<std::size_t>(bytes[0]);
    bytes = bytes.subspan(1);
    if (length > std::min(bytes.size(), kLongestLabel)) return {};
    const std::string_view label{reinterpret_cast<const char*>(bytes.data()), length};
    if (!is_label(label)) return {};  // nor has it a dot within
    text.append(text.empty() ? "" : ".").append(label);
    bytes = bytes.subspan(length);
  }
  return text;
}

}  // namespace

std::string ClientFqdn::text() const {
  return std::string{has(kWireFormat) ? name_in(text_of_labels(name)) : name_in(name)};
}

std::optional<ClientFqdn> client_fqdn(const OptionSet& options) {
  const ByteView value = options.bytes(Option::ClientFqdn);
  if (value.size() < ClientFqdn::kNameAt) return std::nullopt;
  return ClientFqdn{static_cast<std::uint8_t>(value[0]), value.subspan(ClientFqdn::kNameAt)};
}

std::string client_name(const OptionSet& options) {
  const auto fqdn = client_fqdn(options);
  std::string name = fqdn ? fqdn->text() : std::string{};
  return name.empty() ? std::string{name_in(options.bytes(Option::HostName))} : name;
}

std::string name_key(std::string_view name) {
  std::string key{name};
  for (char& c : key)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return key;
}

}  // namespace vmnat::dhcp
