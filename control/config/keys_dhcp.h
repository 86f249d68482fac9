// SPDX-License-Identifier: Apache-2.0
// The keys of networks[].dhcp: see keys.h.
#pragma once

#include "control/config/forms.h"
#include "control/config/keys.h"

namespace vmnat::config {

inline constexpr unsigned kMostAddressesInAnOption = 63;  // 255 bytes of 4

inline constexpr Scalar<std::chrono::seconds> kLeaseTime{
    lease_time,
    R"({"type": "string", "pattern": "^(infinite|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?)$", "minLength": 2})"};
inline constexpr Scalar<std::string> kBootFile{
    boot_file, R"({"type": "string", "minLength": 1, "maxLength": 255})", true};
inline constexpr Scalar<std::string> kHostName{
    host_name, R"({"type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"})", true};
inline constexpr Scalar<std::string> kDomain{domain_name, R"({"type": "string"})", true};
constexpr auto servers() {
  return list(kAddress, {.most = kMostAddressesInAnOption});
}

template <>
inline constexpr auto kKeys<DhcpRoute> = std::tuple{
    key("to", &DhcpRoute::to, Scalar<net::Ipv4Prefix>{route_prefix, kPrefix.json}, "The destination.",
        {.is_required = true}),
    key("via", &DhcpRoute::via, kAddress, "The next hop, an address of this network.", {.is_required = true}),
};

template <>
inline constexpr Named<DhcpRoute> kNamed<DhcpRoute>{
    .noun = "dhcp route", .name = [](const DhcpRoute& route) { return net::to_string(route.to); }};

template <>
inline constexpr auto kKeys<DhcpBootFile> = std::tuple{
    key("arch", &DhcpBootFile::arch, within<std::uint16_t>(0, 0xffff),
        "The client's architecture (option 93): 0 BIOS, 7 and 9 x86-64 EFI, 11 ARM64 EFI; 16 x86-64 and 19 "
        "ARM64 EFI "
        "by HTTP, whose file is a URL.",
        {.is_required = true}),
    key("file", &DhcpBootFile::file, kBootFile, "What such clients are told.", {.is_required = true}),
};

template <>
inline constexpr auto kKeys<DhcpBoot> = std::tuple{
    key("server", &DhcpBoot::server, kAddress, "Where the files are.", {.is_required = true}),
    key("file", &DhcpBoot::file, kBootFile, "For clients that no entry of by_arch fits.",
        {.is_required = true}),
    key("ipxe", &DhcpBoot::ipxe, if_given(kBootFile), "What iPXE is told, whatever its architecture."),
    key("by_arch", &DhcpBoot::by_arch, Lines{}, "Other files, by the client's architecture."),
};

template <>
inline constexpr auto kKeys<DhcpOption> = std::tuple{
    key("code", &DhcpOption::code, within<std::uint8_t>(1, 254), "The option's code.", {.is_required = true}),
    key("text", &DhcpOption::bytes, if_given(Scalar<std::string>{option_text, kBootFile.json, true}),
        "The value as text.", {.applies = [](const DhcpOption&) { return false; }}),
    key("hex", &DhcpOption::bytes,
        if_given(Scalar<std::string>{
            option_bytes, R"({"type": "string", "pattern": "^([0-9A-Fa-f]{2}){1,255}$"})", true, hex_text}),
        "The value as hexadecimal bytes."),
};
template <>
inline constexpr ExactlyOne kExactlyOne<DhcpOption>{
    "text", "hex", "an option has exactly one of text and hex", "an option has exactly one of text and hex"};

template <>
inline constexpr Named<DhcpOption> kNamed<DhcpOption>{
    .noun = "dhcp option", .name = [](const DhcpOption& option) { return std::to_string(option.code); }};

template <>
inline constexpr auto kKeys<Reservation> = std::tuple{
    key("mac", &Reservation::mac, if_given(kMac), "For this MAC address."),
    key("port", &Reservation::port, if_given(kName), "For whoever is on this port of the network."),
    key("address", &Reservation::address, kAddress, "The address, which may lie outside of ranges.",
        {.is_required = true}),
    key("hostname", &Reservation::hostname, if_given(kHostName), "Told to the VM."),
};
template <>
inline constexpr ExactlyOne kExactlyOne<Reservation>{"mac", "port",
                                                     "a reservation is for exactly one of mac and port",
                                                     "a reservation is for exactly one of mac and port"};

template <>
inline constexpr Named<Reservation> kNamed<Reservation>{
    .noun = "reservation", .name = [](const Reservation& one) { return net::to_string(one.address); }};

template <>
inline constexpr auto kKeys<DhcpLimits> = std::tuple{
    key("leases_per_port", &DhcpLimits::leases_per_port, unless("auto", within<std::uint32_t>(0, 0xffffffff)),
        "Addresses held at a time.", {.example = "16", .is_live = true}),
    key("messages_per_second", &DhcpLimits::messages_per_second,
        unless("auto", within<std::uint32_t>(0, 0xffffffff)), "DHCP messages heeded.",
        {.example = "100", .is_live = true}),
};

template <>
inline constexpr auto kKeys<DhcpExports> = std::tuple{
    key("dnsmasq", &DhcpExports::dnsmasq, unless("off", kPath), "Lines of dnsmasq.leases.",
        {.example = "/var/lib/libvirt/dnsmasq/default.leases", .is_live = true}),
    key("libvirt", &DhcpExports::libvirt, unless("off", kPath), "The JSON of libvirt's BRIDGE.status.",
        {.example = "/var/lib/libvirt/dnsmasq/virbr0.status", .is_live = true}),
};

template <>
inline constexpr auto kKeys<Dhcp> = std::tuple{
    key("ranges", &Dhcp::ranges, list(kAddressRange, {.word = "auto"}),
        "Addresses to lease; auto: the whole network. The gateway's own address is skipped.",
        {.example = "[192.168.122.2-192.168.122.254]", .is_live = true}),
    key("lease_time", &Dhcp::lease_time, kLeaseTime, "2m or more, or infinite.", {.is_live = true}),
    key("dns", &Dhcp::dns,
        WordOrList<ToldResolvers, DnsSource, decltype(kAddress)>{
            &ToldResolvers::from, &ToldResolvers::servers, DnsSource::Listed, kAddress},
        "Resolvers told to VMs; gateway, the default where this host is on the network: the gateway, which "
        "answers DNS; host: those of the uplink's lease when its address is dhcp, else those of this host "
        "that "
        "are not on its loopback.",
        {.example = "[9.9.9.9]", .is_live = true, .default_varies = true}),
    key("domain", &Dhcp::domain, Scalar<std::string>{domain_or_none, kDomain.json, true},
        "The domain name told to VMs.", {.example = "lab.example", .is_live = true}),
    key("search", &Dhcp::search, list(kDomain), "The search list told to VMs.",
        {.example = "[lab.example]", .is_live = true}),
    key("ntp", &Dhcp::ntp, servers(), "Time servers told to VMs.",
        {.example = "[192.168.122.9]", .is_live = true}),
    key("routes", &Dhcp::routes, Lines{}, "Classless static routes (option 121).",
        {.example = "[{to: 10.0.0.0/8, via: 192.168.122.5}]", .is_live = true}),
    key("boot", &Dhcp::boot, LineOr{"none"}, "Network boot; none: not offered.",
        {.example = "{server: 192.168.122.9, file: pxelinux.0, ipxe: boot.ipxe, by_arch: [{arch: 7, file: "
                    "ipxe.efi}]}",
         .is_live = true}),
    key("options", &Dhcp::options, Lines{}, "Any other option by its code, as text or as hexadecimal bytes.",
        {.example = R"([{code: 252, text: "http://wpad/"}, {code: 224, hex: "0a0b"}])", .is_live = true}),
    key("reservations", &Dhcp::reservations, Lines{},
        "Fixed addresses, each for a MAC or for whoever is on a port.",
        {.example = "[{mac: 52:54:00:aa:00:01, address: 192.168.122.10, hostname: web1}, "
                    "{port: vm1, address: 192.168.122.11}]",
         .is_live = true}),
    key("identity", &Dhcp::identity, OneOf<Identity>{},
        "How one client is told from another: by mac, port (one address a port), or client-id (option 61, "
        "which clones "
        "of one image often share).",
        {.is_live = true}),
    key("check_before_offer", &Dhcp::check_before_offer, kBoolean,
        "Ask by ARP whether an address is in use before it is offered to somebody who never had it.",
        {.is_live = true}),
    key("limits", &Dhcp::limits, Map{},
        "For each port; 0: none. auto: 16 leases and 100 messages a second on a vhost-user port, any number "
        "of leases "
        "and 1000 messages on a device, which may have a whole segment behind it, and on a port that may "
        "relay."),
    key("exports", &Dhcp::exports, Map{},
        "Files kept equal to the leases, for tools that read those of dnsmasq or libvirt."),
};

}  // namespace vmnat::config
