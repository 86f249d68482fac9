// SPDX-License-Identifier: Apache-2.0
// Addresses as strong types: MacAddr, Ipv4Addr, Ipv4Prefix, L4Port, Endpoint.
//
// All are held as on the wire and are trivially copyable without holes, so they may stand in headers,
// keys and session records as they are. Text forms are parsed strictly: "192.168.122.1", never "192.168.1".
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "net/byte_order.h"

namespace vmnat::net {

struct MacAddr {
  std::array<std::uint8_t, 6> bytes{};

  // The address as the low 48 bits of an integer, for hashing and one-word compares (0 is "none").
  [[nodiscard]] constexpr std::uint64_t as_word() const {
    if (!std::is_constant_evaluated()) {  // two loads instead of six
      std::uint32_t low;
      std::uint16_t high;
      std::memcpy(&low, bytes.data(), sizeof low);
      std::memcpy(&high, bytes.data() + sizeof low, sizeof high);
      return low | std::uint64_t{high} << 32;
    }
    std::uint64_t word = 0;
    for (unsigned i = 0; i < 6; ++i) word |= static_cast<std::uint64_t>(bytes[i]) << (8 * i);
    return word;
  }
  [[nodiscard]] constexpr bool is_group() const { return (bytes[0] & 1) != 0; }  // multicast or broadcast
  [[nodiscard]] constexpr bool is_zero() const { return as_word() == 0; }
  // 01:80:c2:00:00:00 to 0f, which no bridge passes on (IEEE 802.1Q 8.6.3): STP, PAUSE, LACP, 802.1X, LLDP
  [[nodiscard]] constexpr bool is_reserved_group() const {
    return (as_word() & 0xf0ff'ffff'ffff) == 0x0000'00c2'8001;
  }
  constexpr bool operator==(const MacAddr& other) const { return as_word() == other.as_word(); }
  constexpr auto operator<=>(const MacAddr& other) const { return bytes <=> other.bytes; }
};
inline constexpr MacAddr kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

// What an address is for (RFC 6890 and the registry that it began; the ranges that differ in nothing that a
// router does are Unicast, private and documentation addresses among them).
enum class AddressKind : std::uint8_t {
  Unicast,             // of one host, and packets from and for it are forwarded
  ThisNetwork,         // 0.0.0.0/8: "this host on this network" (RFC 1122 3.2.1.3)
  Loopback,            // 127.0.0.0/8
  LinkLocal,           // 169.254.0.0/16: of one host, and never forwarded (RFC 3927 section 7)
  ProtocolAssignment,  // 192.0.0.0/24, but what is forwarded of it (RFC 6890 2.2.2)
  Multicast,           // 224.0.0.0/4
  Reserved,            // 240.0.0.0/4 (RFC 1112 section 4)
  LimitedBroadcast,    // 255.255.255.255
};

class Ipv4Addr {
 public:
  constexpr Ipv4Addr() = default;
  static constexpr Ipv4Addr from_host(std::uint32_t value) { return Ipv4Addr{Be32::from_host(value)}; }
  static constexpr Ipv4Addr from_raw(std::uint32_t raw) { return Ipv4Addr{Be32::from_raw(raw)}; }
  static constexpr Ipv4Addr of(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    return from_host((std::uint32_t{a} << 24) | (std::uint32_t{b} << 16) | (std::uint32_t{c} << 8) | d);
  }

  [[nodiscard]] constexpr std::uint32_t host() const { return value_.host(); }
  [[nodiscard]] constexpr std::uint32_t raw() const { return value_.raw(); }
  [[nodiscard]] constexpr bool is_unspecified() const { return raw() == 0; }
  [[nodiscard]] constexpr AddressKind kind() const {
    const std::uint32_t high = host() >> 24;
    if (high == 0) return AddressKind::ThisNetwork;
    if (high == 127) return AddressKind::Loopback;
    if (host() >> 16 == 0xa9fe) return AddressKind::LinkLocal;
    if (host() >> 8 == 0xc0'0000 && !is_assigned_to_hosts()) return AddressKind::ProtocolAssignment;
    if (high < 224) return AddressKind::Unicast;
    if (high < 240) return AddressKind::Multicast;
    return host() == 0xffff'ffff ? AddressKind::LimitedBroadcast : AddressKind::Reserved;
  }
  [[nodiscard]] constexpr bool is_multicast() const { return kind() == AddressKind::Multicast; }
  [[nodiscard]] constexpr bool is_limited_broadcast() const {
    return kind() == AddressKind::LimitedBroadcast;
  }
  // One station may have it, on some link.
  [[nodiscard]] constexpr bool is_hosts() const {
    return kind() == AddressKind::Unicast || kind() == AddressKind::LinkLocal;
  }
  // Routers pass on what is from it and for it.
  [[nodiscard]] constexpr bool is_forwarded() const { return kind() == AddressKind::Unicast; }
  constexpr bool operator==(const Ipv4Addr& other) const = default;
  constexpr auto operator<=>(const Ipv4Addr& other) const = default;

 private:
  constexpr explicit Ipv4Addr(Be32 value) : value_(value) {}
  // Within 192.0.0.0/24: DS-Lite's /29 (RFC 6333) and the anycast addresses of PCP (RFC 7723) and TURN (RFC
  // 8155).
  [[nodiscard]] constexpr bool is_assigned_to_hosts() const {
    const std::uint32_t last = host() & 0xff;
    return last < 8 || last == 9 || last == 10;
  }
  Be32 value_{};
};

// A network: `address` may have host bits set (an interface's address with its prefix length).
struct Ipv4Prefix {
  Ipv4Addr address;
  std::uint8_t length = 32;  // 0..32

  [[nodiscard]] constexpr std::uint32_t mask_host() const {
    return length == 0 ? 0 : ~std::uint32_t{0} << (32 - length);
  }
  [[nodiscard]] constexpr Ipv4Addr mask() const { return Ipv4Addr::from_host(mask_host()); }
  [[nodiscard]] constexpr Ipv4Addr first() const { return Ipv4Addr::from_host(address.host() & mask_host()); }
  // The last address; of a network that has one (has_edges) the directed broadcast address.
  [[nodiscard]] constexpr Ipv4Addr broadcast() const {
    return Ipv4Addr::from_host(address.host() | ~mask_host());
  }
  [[nodiscard]] constexpr bool contains(Ipv4Addr other) const {
    return ((address.host() ^ other.host()) & mask_host()) == 0;
  }
  [[nodiscard]] constexpr bool overlaps(const Ipv4Prefix& other) const {
    return contains(other.first()) || other.contains(first());
  }
  // RFC 3021: the two addresses of a /31 are hosts, and so is the one of a /32.
  [[nodiscard]] constexpr bool has_edges() const { return length < 31; }
  // The first and the last address, where these are the network's own and that of all its hosts.
  [[nodiscard]] constexpr bool is_edge(Ipv4Addr other) const {
    return has_edges() && (other == first() || other == broadcast());
  }
  [[nodiscard]] constexpr bool is_host(Ipv4Addr other) const { return contains(other) && !is_edge(other); }
  [[nodiscard]] constexpr Ipv4Addr first_host() const {
    return Ipv4Addr::from_host(first().host() + (has_edges() ? 1 : 0));
  }
  [[nodiscard]] constexpr Ipv4Addr last_host() const {
    return Ipv4Addr::from_host(broadcast().host() - (has_edges() ? 1 : 0));
  }
  constexpr bool operator==(const Ipv4Prefix& other) const = default;
};

// A transport port, or an ICMP query's identifier where a port would stand.
class L4Port {
 public:
  constexpr L4Port() = default;
  static constexpr L4Port from_host(std::uint16_t value) { return L4Port{Be16::from_host(value)}; }
  static constexpr L4Port from_raw(std::uint16_t raw) { return L4Port{Be16::from_raw(raw)}; }
  [[nodiscard]] constexpr std::uint16_t host() const { return value_.host(); }
  [[nodiscard]] constexpr std::uint16_t raw() const { return value_.raw(); }
  constexpr bool operator==(const L4Port& other) const = default;
  constexpr auto operator<=>(const L4Port& other) const = default;

 private:
  constexpr explicit L4Port(Be16 value) : value_(value) {}
  Be16 value_{};
};

struct Endpoint {
  Ipv4Addr address;
  L4Port port;
  constexpr bool operator==(const Endpoint& other) const = default;
  constexpr auto operator<=>(const Endpoint& other) const = default;
};

static_assert(MacAddr{{0x01, 0x80, 0xc2, 0, 0, 0x0f}}.is_reserved_group());
static_assert(!MacAddr{{0x01, 0x80, 0xc2, 0, 0, 0x10}}.is_reserved_group());
static_assert(sizeof(MacAddr) == 6 && alignof(MacAddr) == 1 &&
              std::has_unique_object_representations_v<MacAddr>);
static_assert(sizeof(Ipv4Addr) == 4 && alignof(Ipv4Addr) == 1);
static_assert(sizeof(L4Port) == 2 && alignof(L4Port) == 1);
static_assert(sizeof(Endpoint) == 6 && std::has_unique_object_representations_v<Endpoint>);
static_assert(Ipv4Addr::of(192, 168, 122, 1).host() == 0xc0a87a01);
static_assert(Ipv4Prefix{Ipv4Addr::of(10, 0, 0, 5), 24}.broadcast() == Ipv4Addr::of(10, 0, 0, 255));
static_assert(Ipv4Prefix{Ipv4Addr::of(10, 0, 0, 0), 31}.is_host(Ipv4Addr::of(10, 0, 0, 1)));

// Text to value; nothing on anything but the exact canonical form ("a.b.c.d", "a.b.c.d/len",
// "xx:xx:xx:xx:xx:xx").
std::optional<MacAddr> parse_mac(std::string_view text);
std::optional<Ipv4Addr> parse_ipv4(std::string_view text);
std::optional<Ipv4Prefix> parse_ipv4_prefix(std::string_view text);

// For who has no MAC configured: the same for the same name at every start and on every machine, locally
// administered, 52:54:00 as virtual NICs have.
MacAddr mac_made_from(std::string_view name);

std::string to_string(const MacAddr& mac);
std::string to_string(Ipv4Addr address);
std::string to_string(const Ipv4Prefix& prefix);
std::string to_string(const Endpoint& endpoint);  // "A.B.C.D:port"

}  // namespace vmnat::net

template <>
struct std::hash<vmnat::net::MacAddr> {
  std::size_t operator()(const vmnat::net::MacAddr& mac) const noexcept {
    return std::hash<std::uint64_t>{}(mac.as_word());
  }
};
template <>
struct std::hash<vmnat::net::Ipv4Addr> {
  std::size_t operator()(vmnat::net::Ipv4Addr address) const noexcept {
    return std::hash<std::uint32_t>{}(address.host());
  }
};
