// SPDX-License-Identifier: Apache-2.0
// The external addresses of the configuration, and which of their ports may be allocated to flows.
//
// An address that DHCP gives the uplink (`uplink.address: dhcp`) is planned as 0.0.0.0: it has its index and
// its ports from the start, and a value while a lease lasts (conntrack/external_ports.h calls it rented).
#pragma once

#include <vector>

#include "conntrack/conntrack.h"
#include "control/config/model.h"
#include "net/address.h"

namespace vmnat::control {

// Distinct addresses: the uplink's own first, which is answered for (ARP, ping) even when no network
// translates to it, then those of the networks. Where several networks share one, what all of them allow is
// allocated.
std::vector<conntrack::ExternalAddress> plan_external_addresses(const config::Config& config);

// By network: indices into the external addresses of the plan. None for a network without NAT.
using AddressLists = std::vector<std::vector<conntrack::ExternalIndex>>;
AddressLists plan_address_lists(const config::Config& config,
                                const std::vector<conntrack::ExternalAddress>& external);

// The network's external addresses as planned; none without NAT.
std::vector<net::Ipv4Addr> planned_addresses(const config::Network& network);
// The same as they are now: with `rented` in the place of 0.0.0.0, or without it while nothing is rented.
std::vector<net::Ipv4Addr> external_addresses_now(const config::Network& network, net::Ipv4Addr rented);

// Whether the forward listens on this address of its network's.
inline bool listens_on(const config::PortForward& forward, net::Ipv4Addr external) {
  return forward.address.value_or(external) == external;
}

}  // namespace vmnat::control
