// SPDX-License-Identifier: Apache-2.0
#include "dataplane/guard.h"

#include "dataplane/local.h"

namespace vmnat::dataplane {
namespace {

constexpr unsigned kMostTags = 4;  // VLAN tags that are looked through

// The sender of one frame, as far as it has been looked at.
class Sender {
 public:
  Sender(const ForwardingState& state, PortIndex from, rte_mbuf* frame, bool may_be_new)
      : network_(state.networks[state.ports[from].network]),
        from_(from),
        guard_(state.ports[from].guard),
        frame_(frame),
        may_be_new_(may_be_new) {}

  [[nodiscard]] std::optional<DropReason> refusal() const {
    if (!may_use_mac(ethernet_of(frame_).source)) return DropReason::SpoofedMac;
    std::uint32_t at = sizeof(net::EthernetHeader);
    net::Be16 type = ethernet_of(frame_).type;
    for (unsigned tags = 0; is_tag(type); ++tags) {
      const auto* tag = read<VlanTag>(at);
      if (tag == nullptr) return std::nullopt;  // too short to say anything
      if (tags == kMostTags) return DropReason::VlanTagged;
      type = tag->type;
      at += sizeof(VlanTag);
    }
    if (static_cast<net::EtherType>(type.host()) == net::EtherType::Arp) return refusal_of_arp(at);
    if (static_cast<net::EtherType>(type.host()) == net::EtherType::Ipv4) return refusal_of_ipv4(at);
    return std::nullopt;
  }

 private:
  struct VlanTag {
    net::Be16 control;
    net::Be16 type;  // of what follows
  };
  static bool is_tag(net::Be16 type) {
    const auto ether_type = static_cast<net::EtherType>(type.host());
    return ether_type == net::EtherType::Vlan || ether_type == net::EtherType::QinQ;
  }

  // The header at this offset, wherever the buffer's segments end; nullptr when the frame ends before it.
  template <net::WireFormat T>
  const T* read(std::uint32_t offset) const {
    return static_cast<const T*>(rte_pktmbuf_read(frame_, offset, sizeof(T), copy_));
  }

  // `least`: from which guard on what nobody owns is refused.
  [[nodiscard]] bool may_use(const PortIndex* owner, Guard least) const {
    if (owner == nullptr) return guard_ < least;
    return *owner == from_ || (*owner != kUplinkPort && guard_ == Guard::GatewayOnly);
  }
  [[nodiscard]] bool may_use_mac(net::MacAddr mac) const {
    const PortIndex* owner = network_.mac_owners.find(mac.as_word());
    return (owner == nullptr && may_be_new_) || may_use(owner, Guard::OwnMac);
  }
  [[nodiscard]] bool may_use_address(net::Ipv4Addr address) const {
    return may_use(network_.address_owners.find(address.raw()), Guard::OwnBoth);
  }

  // Linux takes hardware type 6, IEEE 802, for Ethernet too: the lengths say whether there is a sender.
  [[nodiscard]] std::optional<DropReason> refusal_of_arp(std::uint32_t at) const {
    const auto* arp = read<net::ArpPacket>(at);
    if (arp == nullptr || arp->hardware_length != sizeof(net::MacAddr) ||
        arp->protocol_length != sizeof(net::Ipv4Addr))
      return std::nullopt;
    if (!arp->sender_mac.is_zero() && !may_use_mac(arp->sender_mac)) return DropReason::SpoofedMac;
    if (!arp->sender_address.is_unspecified() && !may_use_address(arp->sender_address))
      return DropReason::SpoofedAddress;
    return std::nullopt;
  }

  [[nodiscard]] std::optional<DropReason> refusal_of_ipv4(std::uint32_t at) const {
    const auto* ip = read<net::Ipv4Header>(at);
    if (ip == nullptr) return std::nullopt;
    const bool is_good =
        ip->source.is_unspecified() ? may_be_new_ || guard_ < Guard::OwnBoth : may_use_address(ip->source);
    return is_good ? std::nullopt : std::optional(DropReason::SpoofedAddress);
  }

  const Network& network_;
  PortIndex from_;
  Guard guard_;
  rte_mbuf* frame_;
  bool may_be_new_;  // a DHCP client without an address
  mutable std::byte copy_[sizeof(net::ArpPacket)];
};

// RFC 2131 4.4.1: what asks for a lease has no address yet, and a port may have several.
bool is_new_dhcp_client(rte_mbuf* frame, const ParsedPacket& packet) {
  return is_dhcp_request(frame, packet) && ipv4_of(frame).source.is_unspecified();
}

}  // namespace

std::optional<DropReason> refusal_of_sender(const ForwardingState& state, PortIndex from, rte_mbuf* frame,
                                            const ParsedPacket& packet) {
  return Sender(state, from, frame, is_new_dhcp_client(frame, packet)).refusal();
}

}  // namespace vmnat::dataplane
