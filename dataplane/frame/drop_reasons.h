// SPDX-License-Identifier: Apache-2.0
// Why frames end: one table for drops, one for punts. Each row generates the enumerator, the counter's
// name (`drop.<name>`, part of the interface) and its one-line explanation (docs, `vmnatctl counters`).
//
// Every received frame ends in exactly one of: transmitted, punted for a reason, dropped for a reason.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace vmnat::dataplane {

// clang-format off
#define VMNAT_DROP_REASONS(ROW)                                                                              \
  /* Link layer */                                                                                           \
  ROW(Runt, "runt", "shorter than an Ethernet header, or a guest's buffers that hold no frame")              \
  ROW(SourceMac, "source_mac", "source MAC is a group address or zero")                                      \
  ROW(SpoofedMac, "spoofed_mac", "source, ARP sender or IPv6 neighbour's MAC is not the port's, or another's (guard)") \
  ROW(SpoofedAddress, "spoofed_address", "source or ARP sender address is not the port's, or is another's")  \
  ROW(RogueRouter, "rogue_router", "router advertisement or IPv6 redirect of a VM (guard, RFC 6105)")        \
  ROW(RogueDhcp, "rogue_dhcp", "message of a DHCP, DHCPv6 or RARP server from a VM (guard, RFC 7610)")       \
  ROW(Ipv6Hidden, "ipv6_hidden", "IPv6 whose headers do not say what it is (guard, RFC 7112, RFC 6980)")     \
  ROW(ReservedGroup, "reserved_group", "PAUSE, or for 01:80:c2:00:00:00 to 0f: STP, LLDP, ...; never bridged") \
  ROW(NotForUs, "not_for_us", "uplink frame for another MAC address")                                        \
  ROW(VlanTagged, "vlan_tagged", "VLAN tag on a frame to be routed, or from the uplink")                     \
  ROW(EtherType, "ether_type", "neither IPv4 nor ARP, and to be routed, or from the uplink")                 \
  ROW(SamePort, "same_port", "destination MAC lives on the port the frame came from")                        \
  ROW(IsolatedPorts, "isolated_ports", "for other VMs of a network whose VMs are kept apart")                \
  ROW(NoListener, "no_listener", "broadcast or unknown destination, and no other port is up to take it")     \
  ROW(FloodBudget, "flood_budget", "broadcast or unknown destination, beyond what one port may send to all a second") \
  ROW(HeadersSplit, "headers_split", "headers do not lie in the first buffer segment")                       \
  ROW(ArpMalformed, "arp_malformed", "ARP that is cut short or not for Ethernet and IPv4")                   \
  ROW(ArpUnasked, "arp_unasked", "ARP on the uplink, or to our MAC, that asks nothing of us")                \
  /* IPv4 and above */                                                                                       \
  ROW(IpHeader, "ip_header", "IPv4 version, header length or total length is wrong (RFC 1812 5.2.2)")        \
  ROW(IpChecksum, "ip_checksum", "IPv4 header checksum is wrong")                                            \
  ROW(IpOptions, "ip_options", "IPv4 options that ask for source routing, or are malformed")                 \
  ROW(L4Header, "l4_header", "TCP, UDP or ICMP header is cut short or contradicts the lengths")              \
  ROW(FragmentLength, "fragment_length", "fragment that is empty, ends off an 8-byte border, or beyond 65535")\
  ROW(FragmentTiny, "fragment_tiny", "transport header is not whole in the first fragment (RFC 1858, RFC 3128)") \
  ROW(FragmentDuplicate, "fragment_duplicate", "fragment whose bytes have come before")                      \
  ROW(FragmentOverlap, "fragment_overlap", "of a datagram whose fragments overlap or disagree (RFC 5722)")   \
  ROW(FragmentScattered, "fragment_scattered", "of a datagram that came with too many gaps at once")         \
  ROW(FragmentTimeout, "fragment_timeout", "waited in vain for the first fragment")                          \
  ROW(FragmentQuota, "fragment_quota", "made room: its port held as many fragments as one may")              \
  ROW(FragmentStoreFull, "fragment_store_full", "other ports hold all that the fragment store takes")        \
  ROW(FragmentRefused, "fragment_refused", "later fragment of a datagram whose first one opened no session") \
  ROW(TtlExpired, "ttl_expired", "TTL would reach zero")                                                     \
  ROW(TooBig, "too_big", "larger than the MTU of the way out, and may not be cut")                                               \
  ROW(SourceForeign, "source_foreign", "source address is not of the network the frame came from")           \
  ROW(DestinationInside, "destination_inside", "routed although the destination is on the sender's network") \
  ROW(BetweenNetworks, "between_networks", "destination is on another inside network")                       \
  ROW(DestinationMulticast, "destination_multicast", "multicast, and the uplink's network and broadcast address") \
  ROW(DestinationInvalid, "destination_invalid", "no host has it: loopback, zero, class E, 192.0.0.0/24 (RFC 6890)") \
  ROW(LinkLocal, "link_local", "169.254.0.0/16, which ends at the sender's own link (RFC 3927)")             \
  ROW(Hairpin, "hairpin", "inside frame for an external address of ours that cannot turn round")             \
  ROW(NoForwarding, "no_forwarding", "network is isolated (forward: none)")                                  \
  ROW(GatewayService, "gateway_service", "for the gateway itself, which offers no such service")             \
  ROW(IcmpError, "icmp_error", "ICMP error about no session (RFC 5508 REQ-4, REQ-5)")                        \
  ROW(IcmpErrorChecksum, "icmp_error_checksum", "ICMP error whose own or quoted header's checksum is wrong") \
  ROW(IcmpErrorQuote, "icmp_error_quote", "ICMP error that quotes no packet which could have a session")     \
  ROW(IcmpType, "icmp_type", "ICMP type that opens or continues no session, or is not passed on")            \
  ROW(NoUplinkAddress, "no_uplink_address", "the uplink has no address: none is given by DHCP")              \
  ROW(NoRoute, "no_route", "beyond the uplink's network, and the uplink has no gateway to lead there")       \
  /* NAT */                                                                                                  \
  ROW(NoSession, "no_session", "inbound frame that belongs to no session")                                   \
  ROW(Filtered, "filtered", "inbound for a mapping whose filter does not let this remote in")                \
  ROW(NotExternal, "not_external", "uplink frame for an address that is not ours")                           \
  ROW(HostUnresolved, "host_unresolved", "forwarded to a VM whose MAC address is not known")                 \
  ROW(NeighborUnresolved, "neighbor_unresolved", "for a host on the uplink's link that does not answer ARP") \
  ROW(TcpNotSyn, "tcp_not_syn", "TCP in mid-stream without a session")                                       \
  ROW(NoPort, "no_port", "no external port or identifier is left")                                           \
  ROW(SessionTableFull, "session_table_full", "session table is full")                                       \
  ROW(SessionLimit, "session_limit", "the VM port's limit of sessions is reached")                           \
  ROW(SessionRate, "session_rate", "the VM port's limit of new sessions a second is reached")                \
  ROW(Offload, "offload", "checksum or segmentation left to us, of a frame that is not fit for it")          \
  /* Ways out */                                                                                             \
  ROW(PortDown, "port_down", "nobody is attached to the destination port")                                   \
  ROW(TxFull, "tx_full", "transmit queue of the destination port is full")                                   \
  ROW(GuestBuffers, "guest_buffers", "longer than any receive buffer that the destination VM gives")         \
  ROW(HandoffFull, "handoff_full", "ring to the owning worker is full")                                      \
  ROW(PuntFull, "punt_full", "ring to the control thread is full")                                           \
  ROW(PuntBudget, "punt_budget", "for control, but over what its port or destination may have of this kind") \
  ROW(PuntSize, "punt_size", "for control, but a super-frame or longer than a buffer")                       \
  ROW(NoBuffer, "no_buffer", "no packet buffer for the copy of a flooded frame, or a piece of one too big")

#define VMNAT_PUNT_REASONS(ROW)                                                                              \
  ROW(Dhcp, "dhcp", "DHCP message of a VM")                                                                  \
  ROW(UplinkDhcp, "uplink_dhcp", "DHCP message for the uplink's client")                                     \
  ROW(ArpReply, "arp_reply", "ARP that answers what vmnatd has asked, or tells news of whom it knows or is") \
  ROW(NeighborUnresolved, "neighbor_unresolved", "translated; MAC address of the next hop is not known yet") \
  ROW(HostUnresolved, "host_unresolved", "new inbound flow; MAC address of the VM is not known yet")
// clang-format on

#define VMNAT_ENUMERATOR(id, name, text) id,
#define VMNAT_NAME(id, name, text) name,
#define VMNAT_TEXT(id, name, text) text,

enum class DropReason : std::uint8_t { VMNAT_DROP_REASONS(VMNAT_ENUMERATOR) kCount };
inline constexpr std::size_t kDropReasonCount = static_cast<std::size_t>(DropReason::kCount);
inline constexpr std::array<std::string_view, kDropReasonCount> kDropNames{VMNAT_DROP_REASONS(VMNAT_NAME)};
inline constexpr std::array<std::string_view, kDropReasonCount> kDropTexts{VMNAT_DROP_REASONS(VMNAT_TEXT)};

enum class PuntReason : std::uint8_t { VMNAT_PUNT_REASONS(VMNAT_ENUMERATOR) kCount };
inline constexpr std::size_t kPuntReasonCount = static_cast<std::size_t>(PuntReason::kCount);
inline constexpr std::array<std::string_view, kPuntReasonCount> kPuntNames{VMNAT_PUNT_REASONS(VMNAT_NAME)};
inline constexpr std::array<std::string_view, kPuntReasonCount> kPuntTexts{VMNAT_PUNT_REASONS(VMNAT_TEXT)};

#undef VMNAT_ENUMERATOR
#undef VMNAT_NAME
#undef VMNAT_TEXT

constexpr std::size_t index_of(DropReason reason) {
  return static_cast<std::size_t>(reason);
}
constexpr std::size_t index_of(PuntReason reason) {
  return static_cast<std::size_t>(reason);
}

}  // namespace vmnat::dataplane
