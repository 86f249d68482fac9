// SPDX-License-Identifier: Apache-2.0
#include "bench/generator/neighbors.h"

namespace vmnat::bench {

std::optional<net::ArpFrame> NeighborSide::answer(std::span<const std::byte> frame) {
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  const auto* arp = net::arp_in(frame);
  if (arp == nullptr || ethernet->ether_type() != net::EtherType::Arp) return std::nullopt;
  if (arp->sender_address == peer_) peer_mac_ = arp->sender_mac;
  const bool is_for_us = arp->target_address != peer_ && addresses_(arp->target_address);
  if (arp->op() != net::ArpOperation::Request || !is_for_us) return std::nullopt;
  return net::arp_reply(*arp, own_mac_);
}

}  // namespace vmnat::bench
