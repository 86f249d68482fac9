// SPDX-License-Identifier: Apache-2.0
// What is looked at of IPv6, which is switched from VM to VM and never routed.
//
// A chain of headers, each naming the next, ends in the one that says what the packet is:
//
//   | Ipv6Header 40 | [Ipv6Extension 8.. | Ipv6Fragment 8]... | Icmpv6Header 4 + NeighborOption 8.. / UDP /
//   ... |
#pragma once

#include <array>

#include "net/wire.h"

namespace vmnat::net {

// IANA protocol numbers, as they stand in "next header".
enum class NextHeader : std::uint8_t {
  HopByHop = 0,
  Tcp = 6,
  Udp = 17,
  Routing = 43,
  Fragment = 44,
  Authentication = 51,
  Icmpv6 = 58,
  Destination = 60,
  Mobility = 135,
  Hip = 139,
  Shim6 = 140,
};

// RFC 8200 section 3.
struct Ipv6Header {
  Be32 version_class_flow;
  Be16 payload_length;
  NextHeader next;
  std::uint8_t hop_limit;
  std::array<std::uint8_t, 16> source;
  std::array<std::uint8_t, 16> destination;

  [[nodiscard]] constexpr unsigned version() const { return version_class_flow.host() >> 28; }
};
static_assert(sizeof(Ipv6Header) == 40 && alignof(Ipv6Header) == 1);

// What all extension headers begin with (RFC 6564). The fragment header's length is fixed; of ESP, which is
// none of them, nothing but its number is known.
struct Ipv6Extension {
  NextHeader next;
  std::uint8_t length;  // units of 8 bytes behind the first; of 4 behind the second in authentication
};
constexpr bool is_extension(NextHeader header) {
  switch (header) {
    case NextHeader::HopByHop:
    case NextHeader::Routing:
    case NextHeader::Fragment:
    case NextHeader::Authentication:
    case NextHeader::Destination:
    case NextHeader::Mobility:
    case NextHeader::Hip:
    case NextHeader::Shim6:
      return true;
    default:
      return false;
  }
}
constexpr std::uint32_t length_of(NextHeader header, Ipv6Extension extension) {
  if (header == NextHeader::Authentication) return (extension.length + 2u) * 4;  // RFC 4302 section 2.2
  return (extension.length + 1u) * 8;
}

// RFC 8200 section 4.5.
struct Ipv6Fragment {
  NextHeader next;
  std::uint8_t reserved;
  Be16 offset_and_flags;
  Be32 identification;

  [[nodiscard]] constexpr unsigned offset() const { return offset_and_flags.host() >> 3; }
  [[nodiscard]] constexpr bool has_more() const { return (offset_and_flags.host() & 1) != 0; }
};
static_assert(sizeof(Ipv6Fragment) == 8 && alignof(Ipv6Fragment) == 1);

// RFC 4861 section 4: what neighbour discovery is made of.
enum class Icmpv6Type : std::uint8_t {
  RouterSolicitation = 133,
  RouterAdvertisement = 134,
  NeighborSolicitation = 135,
  NeighborAdvertisement = 136,
  Redirect = 137,
};
struct Icmpv6Header {
  Icmpv6Type type;
  std::uint8_t code;
  Be16 checksum;
};
static_assert(sizeof(Icmpv6Header) == 4 && alignof(Icmpv6Header) == 1);

struct NeighborOption {
  static constexpr std::uint8_t kSourceLinkAddress = 1, kTargetLinkAddress = 2;
  std::uint8_t type;
  std::uint8_t length;  // units of 8 bytes, with these two
  MacAddr mac;          // of the two types above
};
static_assert(sizeof(NeighborOption) == 8 && alignof(NeighborOption) == 1);

}  // namespace vmnat::net
