// SPDX-License-Identifier: Apache-2.0
// The keys of networks[].dns: see keys.h.
#pragma once

#include "control/config/keys_dhcp.h"

namespace vmnat::config {

inline constexpr Scalar<std::string> kDomainName{domain_name, R"({"type": "string"})", true};
inline constexpr Scalar<net::Endpoint> kResolver{
    resolver, R"({"type": "string", "pattern": "^([0-9]{1,3}\\.){3}[0-9]{1,3}(:[0-9]{1,5})?$"})", false,
    resolver_text};

template <>
inline constexpr auto kKeys<DnsSrv> = std::tuple{
    key("service", &DnsSrv::service, kHostName, "Such as ldap, for _ldap.", {.is_required = true}),
    key("protocol", &DnsSrv::protocol, OneOf<net::Protocol>{}, "tcp or udp."),
    key("domain", &DnsSrv::domain, if_given(kDomainName),
        "Whose service; by default the network's dhcp.domain."),
    key("target", &DnsSrv::target, kDomainName, "The host that has it.", {.is_required = true}),
    key("port", &DnsSrv::port, kL4Port, "Its port there.", {.is_required = true}),
    key("priority", &DnsSrv::priority, within<std::uint16_t>(0, 0xffff), "The lowest is tried first."),
    key("weight", &DnsSrv::weight, within<std::uint16_t>(0, 0xffff), "Among those of one priority."),
};

template <>
inline constexpr Named<DnsSrv> kNamed<DnsSrv>{
    .noun = "dns srv", .name = [](const DnsSrv& srv) { return srv.service + ' ' + srv.target; }};

template <>
inline constexpr auto kKeys<Dns> = std::tuple{
    key("hosts", &Dns::hosts, entries(kDomainName, kAddress), "Names and their addresses, both ways."),
    key("txt", &Dns::txt,
        entries(
            kDomainName,
            Scalar<std::string>{txt_record, R"({"type": "string", "minLength": 1, "maxLength": 255})", true}),
        "Names and their text records."),
    key("srv", &Dns::srv, Lines{}, "Service records."),
    key("forwarders", &Dns::forwarders, list(kResolver),
        "Who is asked for what is not known here, as 9.9.9.9 or 127.0.0.1:5353; none: the resolvers of this "
        "host."),
    key("domain_forwarders", &Dns::domain_forwarders, entries(kDomainName, list(kResolver)),
        "The same for single domains."),
};

}  // namespace vmnat::config
