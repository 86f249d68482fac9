// SPDX-License-Identifier: Apache-2.0
#include "net/protocol.h"

#include <charconv>

namespace vmnat::net {

std::string to_string(Protocol protocol) {
  const std::string_view name = name_of(protocol);
  return name.empty() ? std::to_string(static_cast<unsigned>(protocol)) : std::string{name};
}

std::optional<Protocol> parse_protocol(std::string_view text) {
  for (const Protocol protocol : {Protocol::Icmp, Protocol::Tcp, Protocol::Udp})
    if (text == name_of(protocol)) return protocol;
  std::uint8_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return static_cast<Protocol>(number);
}

}  // namespace vmnat::net
