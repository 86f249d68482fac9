// SPDX-License-Identifier: Apache-2.0
// The resolvers of this host that its VMs can use too: the default of dhcp.dns.
//
// They are those of /etc/resolv.conf except loopback and IPv6 addresses. A stub resolver on 127.0.0.53 or
// 127.0.0.1 leaves none; then the resolvers that the stub asks are taken, from the file of the program that
// runs it: systemd-resolved's /run/systemd/resolve/resolv.conf, NetworkManager's
// /run/NetworkManager/no-stub-resolv.conf.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "net/address.h"

namespace vmnat::config {

// The addresses of "nameserver" lines, in order, without repetition; at most `kMostResolvers`.
std::vector<net::Ipv4Addr> usable_resolvers(std::string_view resolv_conf);
inline constexpr std::size_t kMostResolvers = 3;  // as resolv.conf(5)

// The resolvers of the first of `files` that has any.
std::vector<net::Ipv4Addr> first_resolvers(std::span<const char* const> files);
std::vector<net::Ipv4Addr> host_resolvers();

inline constexpr std::string_view kNoUsableResolver =
    "those of this host are on its loopback, IPv6, or none; dhcp.dns may name others";

}  // namespace vmnat::config
