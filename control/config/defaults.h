// SPDX-License-Identifier: Apache-2.0
// Defaults that depend on other keys, or on this host; internal to control/config.
#pragma once

#include <functional>
#include <vector>

#include "control/config/section.h"

namespace vmnat::config {

using Resolvers = std::function<std::vector<net::Ipv4Addr>()>;

// Fills in what was not read: uplink (the first of uplinks), nat.addresses (the address of the only uplink), ports[].guard (by the kind of port),
// ports[].relay (by the guard), dhcp.ranges (the whole network) and dhcp.dns (the gateway where this host is on the
// network, and the host's resolvers).
void fill_in_defaults(Config& config, const Findings& findings, const Resolvers& resolvers);

}  // namespace vmnat::config
