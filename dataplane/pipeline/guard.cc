// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/guard.h"

#include "dataplane/context/port_rights.h"
#include "dataplane/detours/local.h"
#include "dataplane/frame/frame_reader.h"
#include "dataplane/pipeline/guard_ipv6.h"

namespace vmnat::dataplane {
namespace {

using net::EtherType;

constexpr unsigned kMostWraps = 4;  // VLAN tags and SNAP headers that are looked through
constexpr std::uint16_t kDhcpClientPort = 68;
constexpr auto kRouterAdvertisement = static_cast<net::IcmpType>(9);  // RFC 1256

// What a frame holds, by the type that says so, and where.
struct Content {
  EtherType type{};
  std::uint32_t at = 0;
};

// What the content holds in turn; nothing when it is no wrapping.
std::optional<Content> unwrapped(const FrameReader& frame, const Content& content) {
  if (net::is_vlan_tag(content.type)) {
    const auto tag = frame.read<net::VlanTag>(content.at);
    return Content{static_cast<EtherType>(tag.type.host()), content.at + std::uint32_t{sizeof tag}};
  }
  if (static_cast<std::uint16_t>(content.type) >= net::kLeastEtherType) return std::nullopt;
  const auto snap = frame.read<net::SnapHeader>(content.at);
  if (!snap.has_ether_type()) return std::nullopt;
  return Content{static_cast<EtherType>(snap.type.host()), content.at + std::uint32_t{sizeof snap}};
}

// Nothing when it is wrapped too often.
std::optional<Content> content_of(const FrameReader& frame, EtherType type) {
  Content content{type, sizeof(net::EthernetHeader)};
  for (unsigned wraps = 0;; ++wraps) {
    const auto inner = unwrapped(frame, content);
    if (!inner) return content;
    if (wraps == kMostWraps) return std::nullopt;
    content = *inner;
  }
}

// Later fragments are nothing without the first, and no first one ends within eight bytes.
std::optional<DropReason> refusal_of_service_at(const FrameReader& frame, std::uint32_t at,
                                                const PortRights& sender) {
  const auto ip = frame.read<net::Ipv4Header>(at);
  if (!sender.is_guarded() || ip.fragment_offset() != 0) return std::nullopt;
  at += static_cast<std::uint32_t>(ip.header_length());
  if (ip.protocol() == net::Protocol::Udp && sender.network().dhcp &&
      frame.read<net::UdpHeader>(at).destination_port.host() == kDhcpClientPort)
    return DropReason::RogueDhcp;
  if (ip.protocol() == net::Protocol::Icmp && frame.read<net::IcmpHeader>(at).type == kRouterAdvertisement)
    return DropReason::RogueRouter;
  return std::nullopt;
}

// The sender of one frame, as far as it has been looked at.
class Sender {
 public:
  Sender(const ForwardingState& state, PortIndex from, rte_mbuf* frame, const ParsedPacket& packet)
      : rights_(state, from),
        frame_(frame),
        ethernet_(ethernet_of(frame)),
        may_be_new_(is_new_dhcp_client(frame, packet)),
        is_routable_(packet.kind != PacketKind::Unroutable) {}

  [[nodiscard]] std::optional<DropReason> refusal() const {
    const net::MacAddr mac = ethernet_.source;
    if (!rights_.may_use(mac) && !(may_be_new_ && !rights_.is_owned(mac))) return DropReason::SpoofedMac;
    const auto content = content_of(frame_, ethernet_.ether_type());
    if (!content) return DropReason::VlanTagged;
    switch (content->type) {
      case EtherType::Arp:
        return refusal_of_arp(content->at);
      case EtherType::Rarp:
        return refusal_of_rarp(content->at);
      case EtherType::Ipv4:
        return refusal_of_ipv4(content->at);
      case EtherType::Ipv6:
        return rights_.is_guarded() ? refusal_of_ipv6(frame_, content->at, rights_) : std::nullopt;
      default:
        return std::nullopt;
    }
  }

 private:
  // RFC 2131 4.4.1: what asks for a lease has no address yet, and a port may have several.
  static bool is_new_dhcp_client(rte_mbuf* frame, const ParsedPacket& packet) {
    return is_dhcp_request(frame, packet) && ipv4_of(frame).source.is_unspecified();
  }

  // Linux takes hardware type 6, IEEE 802, for Ethernet too: the lengths say whether there is a sender.
  [[nodiscard]] std::optional<DropReason> refusal_of_arp(std::uint32_t at) const {
    const auto arp = frame_.read<net::ArpPacket>(at);
    if (arp.hardware_length != sizeof(net::MacAddr) || arp.protocol_length != sizeof(net::Ipv4Addr))
      return std::nullopt;
    if (!arp.sender_mac.is_zero() && !rights_.may_use(arp.sender_mac)) return DropReason::SpoofedMac;
    if (!arp.sender_address.is_unspecified() && !rights_.may_use(arp.sender_address))
      return DropReason::SpoofedAddress;
    return std::nullopt;
  }

  // VMMs tell by a RARP request where a VM has moved to; a reply gives an address (RFC 903).
  [[nodiscard]] std::optional<DropReason> refusal_of_rarp(std::uint32_t at) const {
    const bool is_reply = frame_.read<net::ArpPacket>(at).op() == net::ArpOperation::ReverseReply;
    if (is_reply && rights_.is_guarded()) return DropReason::RogueDhcp;
    return refusal_of_arp(at);
  }

  [[nodiscard]] std::optional<DropReason> refusal_of_ipv4(std::uint32_t at) const {
    const net::Ipv4Addr source = frame_.read<net::Ipv4Header>(at).source;
    const bool is_good =
        source.is_unspecified() ? may_be_new_ || rights_.guard() < Guard::OwnBoth : rights_.may_use(source);
    if (!is_good) return DropReason::SpoofedAddress;
    // What can be routed may be for the gateway, and is asked on its way to other VMs.
    return is_routable_ ? std::nullopt : refusal_of_service_at(frame_, at, rights_);
  }

  PortRights rights_;
  FrameReader frame_;
  const net::EthernetHeader& ethernet_;
  bool may_be_new_;  // a DHCP client without an address
  bool is_routable_;
};

}  // namespace

std::optional<DropReason> refusal_of_sender(const ForwardingState& state, PortIndex from, rte_mbuf* frame,
                                            const ParsedPacket& packet) {
  return Sender(state, from, frame, packet).refusal();
}

std::optional<DropReason> refusal_of_service(const ForwardingState& state, PortIndex from, rte_mbuf* frame) {
  return refusal_of_service_at(FrameReader(frame), sizeof(net::EthernetHeader), PortRights(state, from));
}

}  // namespace vmnat::dataplane
