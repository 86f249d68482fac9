// SPDX-License-Identifier: Apache-2.0
// The wire formats that vmnat reads and writes, and the one door to them.
//
// A header is obtained from bytes only through `view<T>(bytes, offset)`, which answers nullptr when the
// bytes are not all there. All structures have alignment 1 and no padding.
//
//   | EthernetHeader 14 | [VlanTag 4] | Ipv4Header 20..60 | TcpHeader 20.. / UdpHeader 8 / IcmpHeader 8 |
//                                     | ArpPacket 28      |
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "net/address.h"
#include "net/byte_order.h"

namespace vmnat::net {

enum class EtherType : std::uint16_t {
  Ipv4 = 0x0800,
  Arp = 0x0806,
  Rarp = 0x8035,
  Vlan = 0x8100,
  Ipv6 = 0x86dd,
  MacControl = 0x8808,  // PAUSE
  QinQ = 0x88a8
};

// IANA protocol numbers that vmnat knows by name; any other value may occur.
enum class Protocol : std::uint8_t { Icmp = 1, Tcp = 6, Udp = 17 };

// Of what follows a MAC address, or another tag.
constexpr bool is_vlan_tag(EtherType type) {
  return type == EtherType::Vlan || type == EtherType::QinQ;
}

struct EthernetHeader {
  MacAddr destination;
  MacAddr source;
  Be16 type;
  [[nodiscard]] constexpr EtherType ether_type() const { return static_cast<EtherType>(type.host()); }
};
static_assert(sizeof(EthernetHeader) == 14 && alignof(EthernetHeader) == 1);
inline constexpr std::size_t kIpOffset = sizeof(EthernetHeader);  // of a frame without tags

// IEEE 802.1Q: what follows the types Vlan and QinQ.
struct VlanTag {
  Be16 control;
  Be16 type;  // of what follows
};
static_assert(sizeof(VlanTag) == 4 && alignof(VlanTag) == 1);

// IEEE 802.2: where the type would stand is a length, and this follows. With SAP aa and one of these two
// organizations a type is in it after all (RFC 1042, IEEE 802.1H).
inline constexpr std::uint16_t kLeastEtherType = 0x0600;  // what is less is a length
struct SnapHeader {
  std::uint8_t destination_sap;
  std::uint8_t source_sap;
  std::uint8_t control;
  std::array<std::uint8_t, 3> organization;
  Be16 type;

  [[nodiscard]] constexpr bool has_ether_type() const {
    return destination_sap == 0xaa && organization[0] == 0 && organization[1] == 0 &&
           (organization[2] == 0 || organization[2] == 0xf8);
  }
};
static_assert(sizeof(SnapHeader) == 8 && alignof(SnapHeader) == 1);

// ARP for Ethernet and IPv4 (RFC 826), and RARP (RFC 903), whose frames have a type of their own.
enum class ArpOperation : std::uint16_t { Request = 1, Reply = 2, ReverseRequest = 3, ReverseReply = 4 };
struct ArpPacket {
  Be16 hardware_type;            // 1: Ethernet
  Be16 protocol_type;            // 0x0800
  std::uint8_t hardware_length;  // 6
  std::uint8_t protocol_length;  // 4
  Be16 operation;
  MacAddr sender_mac;
  Ipv4Addr sender_address;
  MacAddr target_mac;
  Ipv4Addr target_address;

  [[nodiscard]] constexpr bool is_ethernet_ipv4() const {
    return hardware_type.host() == 1 && protocol_type.host() == 0x0800 && hardware_length == 6 &&
           protocol_length == 4;
  }
  [[nodiscard]] constexpr ArpOperation op() const { return static_cast<ArpOperation>(operation.host()); }
};
static_assert(sizeof(ArpPacket) == 28 && alignof(ArpPacket) == 1);

// RFC 791 section 3.1.
struct Ipv4Header {
  std::uint8_t version_ihl;
  std::uint8_t tos;
  Be16 total_length;
  Be16 identification;
  Be16 fragment;  // flags (3 bits) and offset in units of 8 bytes (13 bits)
  std::uint8_t ttl;
  std::uint8_t protocol_number;
  Be16 checksum;
  Ipv4Addr source;
  Ipv4Addr destination;

  [[nodiscard]] constexpr unsigned version() const { return version_ihl >> 4; }
  [[nodiscard]] constexpr std::size_t header_length() const { return std::size_t{version_ihl & 0xfu} * 4; }
  [[nodiscard]] constexpr bool dont_fragment() const { return (fragment.host() & 0x4000) != 0; }
  [[nodiscard]] constexpr bool more_fragments() const { return (fragment.host() & 0x2000) != 0; }
  [[nodiscard]] constexpr unsigned fragment_offset() const { return fragment.host() & 0x1fffu; }
  // True for the first, a middle and the last fragment alike.
  [[nodiscard]] constexpr bool is_fragment() const { return (fragment.host() & 0x3fff) != 0; }
  [[nodiscard]] constexpr Protocol protocol() const { return static_cast<Protocol>(protocol_number); }
};
static_assert(sizeof(Ipv4Header) == 20 && alignof(Ipv4Header) == 1);
inline constexpr std::uint8_t kInitialTtl = 64;  // of packets of ours (RFC 1700)
static_assert(Ipv4Header{.version_ihl = 0x46}.header_length() == 24);

// RFC 9293 section 3.1.
struct TcpHeader {
  static constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kAck = 0x10, kUrg = 0x20,
                                kCwr = 0x80;
  L4Port source_port;
  L4Port destination_port;
  Be32 sequence;
  Be32 acknowledgment;
  std::uint8_t data_offset;  // in the high four bits, units of 4 bytes
  std::uint8_t flags;
  Be16 window;
  Be16 checksum;
  Be16 urgent;

  [[nodiscard]] constexpr std::size_t header_length() const { return std::size_t{data_offset} >> 4 << 2; }
};
static_assert(sizeof(TcpHeader) == 20 && alignof(TcpHeader) == 1);

// RFC 768.
struct UdpHeader {
  L4Port source_port;
  L4Port destination_port;
  Be16 length;
  Be16 checksum;  // 0: none
};
static_assert(sizeof(UdpHeader) == 8 && alignof(UdpHeader) == 1);

// RFC 792; the second word is the identifier and sequence of queries.
enum class IcmpType : std::uint8_t {
  EchoReply = 0,
  DestinationUnreachable = 3,
  SourceQuench = 4,
  Redirect = 5,
  EchoRequest = 8,
  TimeExceeded = 11,
  ParameterProblem = 12,
  TimestampRequest = 13,
  TimestampReply = 14,
};
struct IcmpHeader {
  IcmpType type;
  std::uint8_t code;
  Be16 checksum;
  L4Port identifier;
  Be16 sequence;
};
static_assert(sizeof(IcmpHeader) == 8 && alignof(IcmpHeader) == 1);

template <typename T>
concept WireFormat = std::is_trivially_copyable_v<T> && alignof(T) == 1;

// The T that starts at `offset`, or nullptr when it would not end within `bytes`.
template <WireFormat T>
const T* view(std::span<const std::byte> bytes, std::size_t offset = 0) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return nullptr;
  return reinterpret_cast<const T*>(bytes.data() + offset);
}
template <WireFormat T>
T* mutable_view(std::span<std::byte> bytes, std::size_t offset = 0) {
  return const_cast<T*>(view<T>(bytes, offset));
}

}  // namespace vmnat::net
