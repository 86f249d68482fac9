// SPDX-License-Identifier: Apache-2.0
// The keys of networks[].nat: see keys.h.
#pragma once

#include "control/config/forms.h"
#include "control/config/keys.h"

namespace vmnat::config {

inline constexpr auto kLimit = within<std::uint32_t>(0, 0xffffffff);

template <>
inline constexpr auto kKeys<Timeouts> = std::tuple{
    key("tcp_established", &Timeouts::tcp_established, kTimeout, "An open TCP connection.",
        {.is_live = true}),
    key("tcp_transitory", &Timeouts::tcp_transitory, kTimeout, "A TCP connection that opens or closes.",
        {.is_live = true}),
    key("udp", &Timeouts::udp, kTimeout, "UDP.", {.is_live = true}),
    key("udp_answered", &Timeouts::udp_answered, kTimeout,
        "UDP, one question to a port below 1024, as of DNS and NTP, answered or not; no longer than udp.",
        {.is_live = true}),
    key("icmp", &Timeouts::icmp, kTimeout, "ICMP queries.", {.is_live = true}),
    key("other", &Timeouts::other, kTimeout, "Every other protocol.", {.is_live = true}),
};

template <>
inline constexpr auto kKeys<Limits> = std::tuple{
    key("sessions_per_port", &Limits::sessions_per_port, kLimit,
        "Live sessions. 0: a share of the worker's table, one half for what the VM opens and a quarter for "
        "what remotes open to it; to lift that, set a large number.",
        {.is_live = true}),
    key("new_sessions_per_second", &Limits::new_sessions_per_second, kLimit,
        "New sessions a second; 0: no limit.", {.is_live = true}),
};

template <>
inline constexpr auto kKeys<StaticNat> = std::tuple{
    key("internal", &StaticNat::internal, kAddress, "The VM's address.", {.is_required = true}),
    key("external", &StaticNat::external, kAddress, "The external address, which no pool has.",
        {.is_required = true}),
};

// "192.168.122.20"
template <>
inline constexpr Named<StaticNat> kNamed<StaticNat>{
    .noun = "static address", .name = [](const StaticNat& pair) { return net::to_string(pair.internal); }};

template <>
inline constexpr auto kKeys<NatRule> = std::tuple{
    key("from", &NatRule::from, unless("any", kAddressBlock), "The VMs' addresses."),
    key("to", &NatRule::to, unless("any", kAddressBlock), "The destinations."),
    key("addresses", &NatRule::addresses,
        list(kAddressRange, {.word = "none", .if_empty = "at least one is needed (or 'none')"}),
        "External addresses, single or a-b; none: routed, and not translated.", {.is_required = true}),
};

template <>
inline constexpr auto kKeys<PortForward> = std::tuple{
    key("protocol", &PortForward::protocol, OneOf<net::Protocol>{}, "tcp or udp.", {.is_required = true}),
    key("address", &PortForward::address, unless("all", kAddress), "The external address; all: every one."),
    key("port", &PortForward::port, kPortRange, "The external port, or a-b.", {.is_required = true}),
    key("to", &PortForward::to, one_or_more(kEndpoint, "at least one VM is needed"),
        "Address and port of the VM, of a range the first port; a list: each remote address is served by one "
        "of them.",
        {.is_required = true}),
    key("from", &PortForward::from, unless("any", kAddressBlock), "The remotes that it is for."),
};

// "tcp 8080", "udp 203.0.113.7:53", "tcp 22 from 198.51.100.0/24"
template <>
inline constexpr Named<PortForward> kNamed<PortForward>{
    .noun = "forward", .name = [](const PortForward& forward) {
      return std::string{to_word(forward.protocol)} + ' ' +
             (forward.address ? net::to_string(*forward.address) + ':' : "") + to_text(forward.port) +
             (forward.from ? " from " + address_block_text(*forward.from) : "");
    }};

template <>
inline constexpr auto kKeys<Nat> = std::tuple{
    key("addresses", &Nat::addresses,
        list(kAddressRange, {.word = "uplink", .if_empty = "at least one is needed (or 'uplink')"}),
        "External addresses, single or a-b; uplink: the uplink's own (masquerade).",
        {.example = "[203.0.113.2, 203.0.113.16-203.0.113.23]", .is_live = true, .element = "pool address"}),
    key("drain", &Nat::drain, list(kAddressRange),
        "External addresses that no new session gets, in any network: existing ones run out, and a mapping "
        "serves its endpoint until its last session ends.",
        {.example = "[203.0.113.16]", .is_live = true, .element = "drain of pool address"}),
    key("ports", &Nat::ports, Scalar<PortRange>{unprivileged_ports, kPortRange.json},
        "External ports given to VMs, within 1024-65535.", {.is_live = true}),
    key("reserved_ports", &Nat::reserved_ports, list(kPortRange),
        "Ports of these that are never given, single or a-b.",
        {.example = "[5060, 6000-6063]", .is_live = true, .element = "reserved port"}),
    key("mapping", &Nat::mapping, OneOf<Mapping>{},
        "RFC 4787 section 4.1: endpoint-independent or endpoint-dependent.", {.is_live = true}),
    key("filtering", &Nat::filtering, OneOf<Filtering>{},
        "Who may answer (RFC 4787 section 5): address-and-port-dependent, address-dependent or "
        "endpoint-independent.",
        {.is_live = true}),
    key("overload", &Nat::overload, kBoolean, "Go on by remote endpoint when an address has no free port.",
        {.is_live = true}),
    key("block_allocation", &Nat::block_allocation, kPortBlock,
        "External ports that a VM gets at a time, for the log of translations: 64 to 4096, a power of two; "
        "0: "
        "ports singly. A VM's block is its own until its ports have rested, and no port is overloaded.",
        {.example = "512", .is_live = true}),
    key("tcp_mid_stream", &Nat::tcp_mid_stream, OneOf<TcpMidStream>{},
        "TCP without a session that is no SYN, as after a restart. reset: the VM is answered by a RST; "
        "drop: nobody is; pick-up: it is taken for a connection that goes on, which it does where the "
        "external port is the same.",
        {.is_live = true}),
    key("mss_clamp", &Nat::mss_clamp, unless("auto", except("off", 0, within<std::uint16_t>(536, 65495))),
        "The largest TCP segment (MSS) that either end is told of; auto: what the smaller of the uplink's "
        "and the network's MTU leaves; off: nothing is changed.",
        {.example = "1360", .is_live = true}),
    key("exhaustion_icmp", &Nat::exhaustion_icmp, OneOf<ExhaustionIcmp>{},
        "What a VM is told by ICMP when no session is to be had: admin-prohibited (RFC 5508), "
        "host-unreachable (RFC 6888), or nothing: off.",
        {.is_live = true}),
    key("timeouts", &Nat::timeouts, Map{}, "After this time without a packet a session ends: 1s to 30d."),
    key("limits", &Nat::limits, Map{},
        "Per VM port, for what the VM opens and, apart, for what remotes open to it."),
    key("static", &Nat::static_nat, Lines{},
        "An external address for one VM alone: all protocols and ports, both ways, ports kept.",
        {.example = "[{internal: 192.168.122.20, external: 203.0.113.24}]", .is_live = true}),
    key("rules", &Nat::rules, Lines{},
        "Other external addresses for some VMs or destinations: the first rule that fits.",
        {.example = "[{from: 192.168.122.64/26, to: 10.0.0.0/8, addresses: none}]", .is_live = true}),
    key("forwards", &Nat::forwards, Lines{},
        "From outside to a VM. What the VM opens from `to` leaves by the forward, by the first one of "
        "several.",
        {.example = "[{protocol: tcp, address: all, port: 8000-8099, to: '192.168.122.10:80', from: any}]",
         .is_live = true}),
};

}  // namespace vmnat::config
