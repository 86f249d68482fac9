// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "control/observe/trace.h"
#include "net/arp.h"
#include "net/protocol.h"
#include "net/wire.h"

namespace vmnat::control {
namespace {

using Bytes = std::span<const std::byte>;

std::string arp_text(Bytes bytes, std::size_t offset) {
  const auto* arp = net::view<net::ArpPacket>(bytes, offset);
  if (arp == nullptr) return "ARP, cut short";
  const std::string target = net::to_string(arp->target_address),
                    sender = net::to_string(arp->sender_address);
  if (arp->op() == net::ArpOperation::Request) return fmt::format("ARP: who has {}? tell {}", target, sender);
  return fmt::format("ARP: {} is at {}", sender, net::to_string(arp->sender_mac));
}

std::string ipv4_text(Bytes bytes, std::size_t offset) {
  const auto* ip = net::view<net::Ipv4Header>(bytes, offset);
  if (ip == nullptr) return "IPv4, cut short";
  std::string from = net::to_string(ip->source), to = net::to_string(ip->destination);
  const bool has_ports = ip->protocol() == net::Protocol::Tcp || ip->protocol() == net::Protocol::Udp;
  const auto* ports = net::view<net::UdpHeader>(bytes, offset + ip->header_length());  // or TCP: its ports
  const auto* icmp = net::view<net::IcmpHeader>(bytes, offset + ip->header_length());
  const bool is_first = ip->fragment_offset() == 0;
  if (has_ports && is_first && ports != nullptr) {
    from += fmt::format(":{}", ports->source_port.host());
    to += fmt::format(":{}", ports->destination_port.host());
  }
  std::string text = fmt::format("{} > {} {}", from, to, net::to_string(ip->protocol()));
  if (ip->protocol() == net::Protocol::Icmp && is_first && icmp != nullptr)
    text += fmt::format(" type {} id {}", static_cast<unsigned>(icmp->type), icmp->identifier.host());
  if (!is_first || ip->more_fragments())
    text += fmt::format(", fragment at {}{}", 8 * ip->fragment_offset(), ip->more_fragments() ? "+" : "");
  return text + fmt::format(", ttl {}", ip->ttl);
}

}  // namespace

std::string frame_text(Bytes bytes) {
  const auto* ethernet = net::view<net::EthernetHeader>(bytes, 0);
  if (ethernet == nullptr) return fmt::format("{} bytes", bytes.size());
  net::EtherType type = ethernet->ether_type();
  std::size_t offset = sizeof *ethernet;
  std::string tags;
  while (net::is_vlan_tag(type)) {
    const auto* tag = net::view<net::VlanTag>(bytes, offset);
    if (tag == nullptr) break;
    tags += fmt::format("vlan {}, ", tag->control.host() & 0xfff);
    type = static_cast<net::EtherType>(tag->type.host());
    offset += sizeof *tag;
  }
  if (type == net::EtherType::Ipv4) return tags + ipv4_text(bytes, offset);
  if (type == net::EtherType::Arp) return tags + arp_text(bytes, offset);
  return tags + fmt::format("{} > {} type {:#06x}", net::to_string(ethernet->source),
                            net::to_string(ethernet->destination), static_cast<unsigned>(type));
}

}  // namespace vmnat::control
