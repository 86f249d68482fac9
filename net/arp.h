// SPDX-License-Identifier: Apache-2.0
// ARP for Ethernet and IPv4 (RFC 826): the frames that vmnat sends, and who says what in those it receives.
//
//   arp_request(mac, 203.0.113.2, 203.0.113.1)   who has .1? Tell .2
//   arp_request(mac, 203.0.113.2, 203.0.113.2)   .2 is at `mac`: an announcement (RFC 5227 section 2.3)
//   arp_request(mac, 0.0.0.0,     203.0.113.2)   has anybody .2? A probe (RFC 5227 section 2.1.1), which
//                                                changes nobody's cache
//   arp_reply(request, mac)                      to who sent the request: what you ask for is at `mac`
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>

#include "net/wire.h"

namespace vmnat::net {

struct ArpFrame {
  EthernetHeader ethernet;
  ArpPacket arp;
  std::array<std::byte, 18> padding{};  // to the 60 bytes that a frame has at least, FCS aside

  [[nodiscard]] std::span<const std::byte> bytes() const { return std::as_bytes(std::span{this, 1}); }
};
static_assert(sizeof(ArpFrame) == 60 && alignof(ArpFrame) == 1);

// Without target, and without the sender's address.
constexpr ArpFrame arp_frame(MacAddr from, MacAddr to, ArpOperation operation) {
  const bool is_reverse =
      operation == ArpOperation::ReverseRequest || operation == ArpOperation::ReverseReply;
  const EtherType type = is_reverse ? EtherType::Rarp : EtherType::Arp;
  return {.ethernet = {.destination = to,
                       .source = from,
                       .type = Be16::from_host(static_cast<std::uint16_t>(type))},
          .arp = {.hardware_type = Be16::from_host(1),
                  .protocol_type = Be16::from_host(static_cast<std::uint16_t>(EtherType::Ipv4)),
                  .hardware_length = sizeof(MacAddr),
                  .protocol_length = sizeof(Ipv4Addr),
                  .operation = Be16::from_host(static_cast<std::uint16_t>(operation)),
                  .sender_mac = from,
                  .sender_address = {},
                  .target_mac = {},
                  .target_address = {}}};
}

constexpr ArpFrame arp_request(MacAddr own_mac, Ipv4Addr own_address, Ipv4Addr target,
                               MacAddr to = kBroadcastMac) {
  ArpFrame frame = arp_frame(own_mac, to, ArpOperation::Request);
  frame.arp.sender_address = own_address;
  frame.arp.target_address = target;
  return frame;
}

constexpr ArpFrame arp_reply(const ArpPacket& request, MacAddr own_mac) {
  ArpFrame frame = arp_frame(own_mac, request.sender_mac, ArpOperation::Reply);
  frame.arp.sender_address = request.target_address;
  frame.arp.target_mac = request.sender_mac;
  frame.arp.target_address = request.sender_address;
  return frame;
}

// The packet behind an Ethernet header that says it is ARP's; nullptr: it is cut short, or not for Ethernet
// and IPv4.
inline const ArpPacket* arp_in(std::span<const std::byte> frame) {
  const auto* arp = view<ArpPacket>(frame, sizeof(EthernetHeader));
  return arp != nullptr && arp->is_ethernet_ipv4() ? arp : nullptr;
}

// A station says of itself, by whatever ARP packet, that it has an address.
struct ArpClaim {
  MacAddr mac;
  Ipv4Addr address;
};
inline std::optional<ArpClaim> arp_claim_in(std::span<const std::byte> frame) {
  const ArpPacket* arp = arp_in(frame);
  if (arp == nullptr || arp->sender_mac.is_zero()) return std::nullopt;
  return ArpClaim{arp->sender_mac, arp->sender_address};
}

}  // namespace vmnat::net
