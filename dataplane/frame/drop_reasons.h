// SPDX-License-Identifier: Apache-2.0
// Drop reasons: why frames end, one table for drops and one for punts. Each row generates the enumerator and
// the counter's name (`drop.<name>`, part of the interface), and explains it in a line.
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
  ROW(Runt, "runt", "shorter than an Ethernet header, or a guest's descriptors that hold no frame")          \
  ROW(SourceMac, "source_mac", "source MAC is a group address or zero")                                      \
  ROW(SpoofedMac, "spoofed_mac", "MAC of source, ARP sender or IPv6 neighbour is not the port's (guard)")    \
  ROW(SpoofedAddress, "spoofed_address", "IPv4 source or ARP sender address is not the port's (guard)")      \
  ROW(RogueRouter, "rogue_router", "router advertisement or IPv6 redirect from a VM (guard, RFC 6105)")      \
  ROW(RogueDhcp, "rogue_dhcp", "message of a DHCP, DHCPv6 or RARP server from a VM (guard, RFC 7610)")       \
  ROW(Ipv6Hidden, "ipv6_hidden", "IPv6 whose headers hide its protocol (guard, RFC 7112, RFC 6980)")         \
  ROW(ReservedGroup, "reserved_group", "PAUSE, STP, LLDP, ... (01:80:c2:00:00:00 to 0f), never bridged")     \
  ROW(NotForUs, "not_for_us", "uplink frame for another MAC address")                                        \
  ROW(VlanTagged, "vlan_tagged", "VLAN tag on a frame to be routed, or from the uplink")                     \
  ROW(OtherVlan, "other_vlan", "of another VLAN of the device than the port's, or of none")                   \
  ROW(EtherType, "ether_type", "to be routed, or from the uplink, and neither IPv4 nor ARP")                 \
  ROW(SamePort, "same_port", "destination MAC lives on the port that the frame came from")                   \
  ROW(IsolatedPorts, "isolated_ports", "for a VM of another group, or of a network with isolated ports")     \
  ROW(NoListener, "no_listener", "broadcast or unknown destination, and no other port is up")                \
  ROW(FloodBudget, "flood_budget", "broadcast or unknown destination, over the port's rate of floods")       \
  ROW(HeadersSplit, "headers_split", "headers do not lie in the first buffer segment")                       \
  ROW(ArpMalformed, "arp_malformed", "ARP that is cut short or not for Ethernet and IPv4")                   \
  ROW(ArpUnasked, "arp_unasked", "ARP on the uplink or to our MAC, neither a request for us nor awaited")    \
  /* IPv4 and above */                                                                                       \
  ROW(IpHeader, "ip_header", "IPv4 version, header length or total length is wrong (RFC 1812 5.2.2)")        \
  ROW(IpChecksum, "ip_checksum", "IPv4 header checksum is wrong")                                            \
  ROW(IpOptions, "ip_options", "IPv4 options that ask for source routing, or are malformed")                 \
  ROW(L4Header, "l4_header", "TCP, UDP or ICMP header is cut short or contradicts the lengths")              \
  ROW(FragmentLength, "fragment_length", "fragment is empty, not in units of 8 bytes, or ends beyond 65535") \
  ROW(FragmentTiny, "fragment_tiny", "first fragment without its whole transport header (RFC 1858)")         \
  ROW(FragmentDuplicate, "fragment_duplicate", "fragment whose bytes have arrived before")                   \
  ROW(FragmentOverlap, "fragment_overlap", "of a datagram whose fragments overlap or disagree (RFC 5722)")   \
  ROW(FragmentScattered, "fragment_scattered", "of a datagram that arrived with too many gaps at once")      \
  ROW(FragmentTimeout, "fragment_timeout", "the first fragment did not arrive in time")                      \
  ROW(FragmentQuota, "fragment_quota", "evicted: the port is at its quota of waiting fragments")             \
  ROW(FragmentStoreFull, "fragment_store_full", "the fragment store is full of other ports' fragments")      \
  ROW(FragmentRefused, "fragment_refused", "later fragment of a datagram whose first one opened no session") \
  ROW(TtlExpired, "ttl_expired", "TTL would reach zero")                                                     \
  ROW(TooBig, "too_big", "above the egress MTU, and may not be fragmented")                                  \
  ROW(SourceForeign, "source_foreign", "source address is not of the network that the frame came from")      \
  ROW(DestinationInside, "destination_inside", "routed, but the destination is on the sender's network")     \
  ROW(BetweenNetworks, "between_networks", "destination is on another inside network")                       \
  ROW(DestinationMulticast, "destination_multicast", "multicast, or the uplink's network or broadcast")      \
  ROW(DestinationInvalid, "destination_invalid", "no host's: loopback, 0/8, 240/4, 192.0.0.0/24 (RFC 6890)") \
  ROW(LinkLocal, "link_local", "for 169.254.0.0/16, which is not routed (RFC 3927)")                         \
  ROW(Hairpin, "hairpin", "from a VM for an external address of ours, and hairpinning is not possible")      \
  ROW(Rule, "rule", "a rule drops it, or none accepts it (networks[].rules, ports[].rules)")                 \
  ROW(RuleReject, "rule_reject", "a rule rejects it, and its sender is told")                                \
  ROW(NoForwarding, "no_forwarding", "network is isolated (forward: none)")                                  \
  ROW(GatewayService, "gateway_service", "for the gateway itself, which offers no such service")             \
  ROW(HostService, "host_service", "for a port of the host that is not open to VMs (host.services)")         \
  ROW(IcmpError, "icmp_error", "ICMP error that belongs to no session (RFC 5508 REQ-4, REQ-5)")              \
  ROW(IcmpErrorChecksum, "icmp_error_checksum", "ICMP error, its checksum or the quoted header's is wrong")  \
  ROW(IcmpErrorQuote, "icmp_error_quote", "ICMP error that quotes no packet which could have a session")     \
  ROW(IcmpType, "icmp_type", "ICMP type that belongs to no session and is not passed on")                    \
  ROW(NoUplinkAddress, "no_uplink_address", "the uplink has no address: DHCP has given none")                \
  ROW(NoRoute, "no_route", "beyond the uplink's network, and the uplink has no gateway")                     \
  /* NAT */                                                                                                  \
  ROW(NoSession, "no_session", "inbound frame that belongs to no session")                                   \
  ROW(Filtered, "filtered", "inbound for a mapping that is filtered for this remote")                        \
  ROW(NotExternal, "not_external", "uplink frame for an address that is not ours, or not at this uplink")     \
  ROW(HostUnresolved, "host_unresolved", "inbound for a VM whose MAC address is not known")                  \
  ROW(NeighborUnresolved, "neighbor_unresolved", "for a host on the uplink's link that does not answer ARP") \
  ROW(TcpNotSyn, "tcp_not_syn", "TCP in mid-stream without a session")                                       \
  ROW(NoPort, "no_port", "no external port or identifier is left")                                           \
  ROW(SessionTableFull, "session_table_full", "session table is full")                                       \
  ROW(SessionLimit, "session_limit", "the VM port's limit of sessions is reached")                           \
  ROW(SessionRate, "session_rate", "the VM port's limit of new sessions a second is reached")                \
  ROW(Offload, "offload", "checksum or segmentation offload that contradicts the frame")                     \
  /* Ways out */                                                                                             \
  ROW(PortDown, "port_down", "nobody is attached to the destination port")                                   \
  ROW(TxFull, "tx_full", "transmit queue of the destination port is full")                                   \
  ROW(GuestBuffers, "guest_buffers", "longer than the receive buffers of the destination VM")                \
  ROW(RateLimit, "rate_limit", "over the limit of what the destination port gets, and as much waits as may")  \
  ROW(HandoffFull, "handoff_full", "ring to the owning worker, or the worker's queue of hairpins, is full")  \
  ROW(PuntFull, "punt_full", "ring to the control thread is full")                                           \
  ROW(PuntBudget, "punt_budget", "for the control thread, over the budget of its port or destination")       \
  ROW(PuntSize, "punt_size", "for the control thread, and a super-frame or longer than a buffer")            \
  ROW(NoBuffer, "no_buffer", "no packet buffer for a copy (flood), a fragment or a segment of the frame")    \
  /* Counted by control, for the process before */                                                           \
  ROW(Restart, "restart", "held when vmnatd ended; of one killed also the last second's, not counted out")

#define VMNAT_PUNT_REASONS(ROW)                                                                              \
  ROW(Dhcp, "dhcp", "DHCP message of a VM")                                                                  \
  ROW(UplinkDhcp, "uplink_dhcp", "DHCP message for the uplink's client")                                     \
  ROW(ProbeReply, "probe_reply", "answer to an echo request of vmnatd's, by which it probes an uplink")        \
  ROW(ArpReply, "arp_reply", "ARP reply to vmnatd, new MAC of a known host, or conflict with its address")   \
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
