// SPDX-License-Identifier: Apache-2.0
// The name that a client gives itself, if it is a valid one: it ends up in listings, and in files that others
// parse.
//
// Option 81 (RFC 4702), in either encoding, goes before option 12. What is malformed counts as absent.
//
//   51 0a 04 00 00 | 03 v m 1 03 l a b 00    E set: labels as in DNS, the root's may be missing
//   51 0a 00 00 00 | v m 1 . l a b           E clear: text
//   0c 06 m y _ v m 00                       option 12: text, with a NUL that some clients add
//
// A name is 1 to 253 letters, digits, '-', '_' and dots, in labels of 1 to 63, and starts with a letter or a
// digit. A dot at its end is taken off.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "dhcp/message.h"

namespace vmnat::dhcp {

// RFC 4702 section 2: flags, two RCODEs that mean nothing any more, and a name.
struct ClientFqdn {
  static constexpr std::uint8_t kServerUpdates = 0x01;  // S
  static constexpr std::uint8_t kOverridden = 0x02;     // O
  static constexpr std::uint8_t kWireFormat = 0x04;     // E
  static constexpr std::uint8_t kNoUpdates = 0x08;      // N
  static constexpr std::size_t kNameAt = 3;

  std::uint8_t flags = 0;
  ByteView name;  // as sent; may be empty

  [[nodiscard]] bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
  [[nodiscard]] std::string text() const;  // empty: none, or malformed
};

// Option 81, when it is there and has its fixed part.
std::optional<ClientFqdn> client_fqdn(const OptionSet& options);

// Empty: the client says no name.
std::string client_name(const OptionSet& options);

// Equal for two names that are the same: DNS does not tell capitals from small letters (RFC 4343).
std::string name_key(std::string_view name);

}  // namespace vmnat::dhcp
