// SPDX-License-Identifier: Apache-2.0
// ARP frames out and in (RFC 826).
#include "bench/generator/neighbors.h"

namespace vmnat::bench {
namespace {

net::ArpPacket arp_packet(net::ArpOperation operation) {
  return {.hardware_type = net::Be16::from_host(1),
          .protocol_type = net::Be16::from_host(0x0800),
          .hardware_length = 6,
          .protocol_length = 4,
          .operation = net::Be16::from_host(static_cast<std::uint16_t>(operation))};
}

net::EthernetHeader arp_header(net::MacAddr to, net::MacAddr from) {
  return {to, from, net::Be16::from_host(static_cast<std::uint16_t>(net::EtherType::Arp))};
}

}  // namespace

ArpFrame arp_request(net::MacAddr own_mac, net::Ipv4Addr sender, net::Ipv4Addr target) {
  ArpFrame frame{arp_header(net::kBroadcastMac, own_mac), arp_packet(net::ArpOperation::Request)};
  frame.arp.sender_mac = own_mac;
  frame.arp.sender_address = sender;
  frame.arp.target_address = target;
  return frame;
}

std::optional<ArpFrame> NeighborSide::answer(std::span<const std::byte> frame) {
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  const auto* arp = net::view<net::ArpPacket>(frame, sizeof(net::EthernetHeader));
  if (arp == nullptr || ethernet->ether_type() != net::EtherType::Arp || !arp->is_ethernet_ipv4())
    return std::nullopt;
  if (arp->sender_address == peer_) peer_mac_ = arp->sender_mac;
  const bool is_for_us = addresses_.contains(arp->target_address) && arp->target_address != peer_;
  if (arp->op() != net::ArpOperation::Request || !is_for_us) return std::nullopt;

  ArpFrame reply{arp_header(arp->sender_mac, own_mac_), arp_packet(net::ArpOperation::Reply)};
  reply.arp.sender_mac = own_mac_;
  reply.arp.sender_address = arp->target_address;
  reply.arp.target_mac = arp->sender_mac;
  reply.arp.target_address = arp->sender_address;
  return reply;
}

}  // namespace vmnat::bench
