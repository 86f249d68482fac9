// SPDX-License-Identifier: Apache-2.0
// The external addresses of the configuration, and which of their ports may be allocated to flows.
//
// An address that DHCP gives the uplink (`uplink.address: dhcp`) is planned as 0.0.0.0: it has its index and
// its ports from the start, and a value while a lease lasts (conntrack/external_addresses.h calls it rented).
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "conntrack/external_addresses.h"
#include "control/config/model.h"
#include "net/address.h"

namespace vmnat::control {

using ExternalTable = std::shared_ptr<const conntrack::ExternalAddresses>;

// The uplink's own address, which is answered for (ARP, ping) even when no network translates to it, and those
// of the networks, with the ones that are a VM's alone (static_nat.h), of which no port is given out. Where several
// networks share one, what all of them allow is allocated. An address of `running`, if that is given, keeps its index,
// and its object of ports if they are the same; the others get the lowest indices that `running` does not use.
ExternalTable plan_external_addresses(const config::Config& config,
                                      const conntrack::ExternalAddresses* running = nullptr);
// The same with `rented` in the place of 0.0.0.0.
ExternalTable with_rented(const ExternalTable& planned, net::Ipv4Addr rented);
// Room for those that may come later: four times as many as there are, and for no less than 512.
unsigned external_room(unsigned addresses);

// By network: indices into the external addresses of the plan. None for a network without NAT.
using AddressLists = std::vector<std::vector<conntrack::ExternalIndex>>;
AddressLists plan_address_lists(const config::Config& config, const conntrack::ExternalAddresses& external);
// The same with what the networks' rules have besides.
AddressLists plan_all_addresses(const config::Config& config, const conntrack::ExternalAddresses& external);

// The network's external addresses as planned; none without NAT.
std::vector<net::Ipv4Addr> planned_addresses(const config::Network& network);
// These, and then the other lists of its rules, each once; none without NAT.
std::vector<std::vector<net::Ipv4Addr>> planned_pools(const config::Network& network);
// The number of the pool with just these addresses; else that of pools.
std::size_t pool_with(const std::vector<std::vector<net::Ipv4Addr>>& pools,
                      std::vector<net::Ipv4Addr> addresses);
// All of them as they are now: with `rented` in the place of 0.0.0.0, or without it while nothing is rented.
std::vector<net::Ipv4Addr> external_addresses_now(const config::Network& network, net::Ipv4Addr rented);
// Those that any network drains: nothing new gets them, in no network.
std::set<net::Ipv4Addr> draining_addresses(const config::Config& config);

// Whether the forward listens on this address of its network's.
inline bool listens_on(const config::PortForward& forward, net::Ipv4Addr external) {
  return forward.address.value_or(external) == external;
}

}  // namespace vmnat::control
