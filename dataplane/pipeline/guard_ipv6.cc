// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/guard_ipv6.h"

#include <algorithm>

#include "net/ipv6.h"

namespace vmnat::dataplane {
namespace {

using net::Icmpv6Type;
using net::NextHeader;

constexpr std::uint16_t kDhcpv6ClientPort = 546;
// From the ICMPv6 header on: what stands before the options (RFC 4861 sections 4.1, 4.3 and 4.4).
constexpr std::uint32_t kSolicitationBytes = 8, kNeighborBytes = 24;

enum class Extent { Whole, FirstFragment, LaterFragment };

// The header that the chain of extension headers leads to.
struct Upper {
  NextHeader protocol{};
  std::uint32_t at = 0;
  Extent extent = Extent::Whole;
};

// The packet under examination. What is behind `end` is no part of it.
struct Packet {
  const FrameReader& frame;
  std::uint32_t end;
  [[nodiscard]] bool holds(std::uint32_t at, std::uint32_t bytes) const { return at + bytes <= end; }
};

// One header on; the fragment header, whose length field is reserved, says in what extent the packet is here.
Upper behind(const Packet& packet, const Upper& header) {
  if (header.protocol != NextHeader::Fragment) {
    const auto extension = packet.frame.read<net::Ipv6Extension>(header.at);
    return {extension.next, header.at + length_of(header.protocol, extension), header.extent};
  }
  const auto fragment = packet.frame.read<net::Ipv6Fragment>(header.at);
  Upper next{fragment.next, header.at + static_cast<std::uint32_t>(sizeof fragment), header.extent};
  if (fragment.offset() != 0)
    next.extent = Extent::LaterFragment;
  else if (fragment.has_more())
    next.extent = Extent::FirstFragment;
  return next;
}

// Nothing when the packet ends before, or there are too many.
std::optional<Upper> end_of_chain(const Packet& packet, Upper header) {
  for (unsigned extensions = 0; is_extension(header.protocol); ++extensions) {
    if (extensions == kMostExtensions || !packet.holds(header.at, 8)) return std::nullopt;
    header = behind(packet, header);
    if (header.extent == Extent::LaterFragment) break;
  }
  return header;
}

// Of the headers that are looked at, and of TCP's, which RFC 7112 wants whole in the first fragment, too.
constexpr std::uint32_t least_length(NextHeader protocol) {
  switch (protocol) {
    case NextHeader::Icmpv6:
      return sizeof(net::Icmpv6Header);
    case NextHeader::Udp:
      return sizeof(net::UdpHeader);
    case NextHeader::Tcp:
      return sizeof(net::TcpHeader);
    default:
      return 0;
  }
}

// RFC 4861 4.6.1: both options tell where somebody is to be reached.
std::optional<DropReason> refusal_of_options(const Packet& packet, std::uint32_t at,
                                             const PortRights& sender) {
  for (unsigned options = 0; at < packet.end; ++options) {
    const auto option = packet.frame.read<net::NeighborOption>(at);
    if (options == kMostNeighborOptions || option.length == 0 || !packet.holds(at, sizeof option))
      return DropReason::Ipv6Hidden;
    const bool is_address = option.type == net::NeighborOption::kSourceLinkAddress ||
                            option.type == net::NeighborOption::kTargetLinkAddress;
    if (is_address && !sender.may_use(option.mac)) return DropReason::SpoofedMac;
    at += option.length * 8u;
  }
  return std::nullopt;
}

std::optional<DropReason> refusal_of_icmpv6(const Packet& packet, const Upper& upper,
                                            const PortRights& sender) {
  std::uint32_t options = kNeighborBytes;
  switch (packet.frame.read<net::Icmpv6Header>(upper.at).type) {
    case Icmpv6Type::RouterAdvertisement:
    case Icmpv6Type::Redirect:
      return DropReason::RogueRouter;
    case Icmpv6Type::RouterSolicitation:
      options = kSolicitationBytes;
      break;
    case Icmpv6Type::NeighborSolicitation:
    case Icmpv6Type::NeighborAdvertisement:
      break;
    default:
      return std::nullopt;
  }
  if (upper.extent != Extent::Whole) return DropReason::Ipv6Hidden;
  return refusal_of_options(packet, upper.at + options, sender);
}

}  // namespace

std::optional<DropReason> refusal_of_ipv6(const FrameReader& frame, std::uint32_t at,
                                          const PortRights& sender) {
  const auto ip = frame.read<net::Ipv6Header>(at);
  if (ip.version() != 6) return std::nullopt;  // nobody takes it for IPv6
  at += sizeof ip;
  const Packet packet{frame, std::min(frame.size(), at + ip.payload_length.host())};
  const auto upper = end_of_chain(packet, {.protocol = ip.next, .at = at});
  if (!upper) return DropReason::Ipv6Hidden;
  if (upper->extent == Extent::LaterFragment) return std::nullopt;
  if (!packet.holds(upper->at, least_length(upper->protocol))) return DropReason::Ipv6Hidden;
  if (upper->protocol == NextHeader::Icmpv6) return refusal_of_icmpv6(packet, *upper, sender);
  if (upper->protocol == NextHeader::Udp &&
      frame.read<net::UdpHeader>(upper->at).destination_port.host() == kDhcpv6ClientPort)
    return DropReason::RogueDhcp;
  return std::nullopt;
}

}  // namespace vmnat::dataplane
