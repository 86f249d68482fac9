// SPDX-License-Identifier: Apache-2.0
// The parsers of the sections; internal to control/config. Each reads its own keys and fills its own
// defaults.
#pragma once

#include <functional>
#include <vector>

#include "control/config/section.h"

namespace vmnat::config {

using Resolvers = std::function<std::vector<net::Ipv4Addr>()>;

void parse_config(const Node& document, Config& into, Findings& findings, const Resolvers& resolvers);

// `uplink` is what was read of it: the default of nat.addresses.
void parse_network(Section& section, Network& into, const Uplink& uplink, const Resolvers& resolvers);
void parse_dhcp(Section& section, Dhcp& into, const Network& network, const Resolvers& resolvers);
void parse_nat(Section& section, Nat& into);

}  // namespace vmnat::config
