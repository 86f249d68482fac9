// SPDX-License-Identifier: Apache-2.0
// The names of IP's protocols as operators write and read them: "tcp", "udp", "icmp", the number of any other.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "net/wire.h"

namespace vmnat::net {

// Empty for a protocol without a name here.
constexpr std::string_view name_of(Protocol protocol) {
  switch (protocol) {
    case Protocol::Icmp:
      return "icmp";
    case Protocol::Tcp:
      return "tcp";
    case Protocol::Udp:
      return "udp";
  }
  return "";
}

std::string to_string(Protocol protocol);                       // "tcp", "47"
std::optional<Protocol> parse_protocol(std::string_view text);  // a name, or "0" to "255"

}  // namespace vmnat::net
