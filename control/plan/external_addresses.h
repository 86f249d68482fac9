// SPDX-License-Identifier: Apache-2.0
// The external addresses of the configuration, and which of their ports may be allocated to flows.
//
// An address that DHCP gives an uplink (`uplink.address: dhcp`) is planned as 0.0.0.0, that of a second one as 0.0.0.1
// and so on: it has its index and its ports from the start, and a value while a lease lasts
// (conntrack/external_addresses.h calls it rented).
//
// Where there are several uplinks, a network without nat.addresses has the address of the one that it is on. Plans are
// made from a configuration where that is written down (on_uplinks()), and are others when the network moves.
#pragma once

#include <array>
#include <memory>
#include <set>
#include <vector>

#include "base/ids.h"
#include "conntrack/external_addresses.h"
#include "control/config/model.h"
#include "net/address.h"

namespace vmnat::control {

using ExternalTable = std::shared_ptr<const conntrack::ExternalAddresses>;

// The uplink that each network is on, by the networks' numbers; those beyond its end are on the first one.
using NetworkWays = std::vector<PortIndex>;
inline PortIndex way_of(const NetworkWays& ways, std::size_t network) {
  return network < ways.size() ? ways[network] : PortIndex{0};
}
// Each network on the uplink that it prefers.
NetworkWays preferred_ways(const config::Config& config);
// The configuration with the addresses that networks have on these uplinks.
config::Config on_uplinks(const config::Config& config, const NetworkWays& ways);

// What stands in plans for the address that DHCP gives an uplink. No host has such an address.
inline net::Ipv4Addr rented_place(std::size_t uplink) {
  return net::Ipv4Addr::from_host(static_cast<std::uint32_t>(uplink));
}
inline bool is_rented_place(net::Ipv4Addr planned) {
  return planned.host() < kMostUplinks;
}
// By uplink, the addresses that DHCP has given; unspecified: none.
class RentedAddresses {
 public:
  RentedAddresses() = default;
  RentedAddresses(net::Ipv4Addr of_first) { of_[0] = of_first; }  // NOLINT(google-explicit-constructor)
  [[nodiscard]] net::Ipv4Addr operator[](std::size_t uplink) const { return of_[uplink]; }
  void set(std::size_t uplink, net::Ipv4Addr address) { of_[uplink] = address; }
  // Of an address as planned: the one that there is now; unspecified: there is none.
  [[nodiscard]] net::Ipv4Addr now(net::Ipv4Addr planned) const {
    return is_rented_place(planned) ? of_[planned.host()] : planned;
  }
  bool operator==(const RentedAddresses&) const = default;

 private:
  std::array<net::Ipv4Addr, kMostUplinks> of_{};
};

// The uplinks' own addresses, which are answered for (ARP, ping) even when no network translates to them, and those
// of the networks, with the ones that are a VM's alone (static_nat.h), of which no port is given out. Where several
// networks share one, what all of them allow is allocated. An address of `running`, if that is given, keeps its index,
// and its object of ports if they are the same; the others get the lowest indices that `running` does not use.
ExternalTable plan_external_addresses(const config::Config& config,
                                      const conntrack::ExternalAddresses* running = nullptr);
// The same with `rented` in their places; 0.0.0.0 where there is none.
ExternalTable with_rented(const ExternalTable& planned, const RentedAddresses& rented);
// Room for those that may come later: four times as many as there are, and for no less than 512.
unsigned external_room(unsigned addresses);

// By network: indices into the external addresses of the plan. None for a network without NAT.
using AddressLists = std::vector<std::vector<conntrack::ExternalIndex>>;
AddressLists plan_address_lists(const config::Config& config, const conntrack::ExternalAddresses& external);
// The same with what the networks' rules have besides.
AddressLists plan_all_addresses(const config::Config& config, const conntrack::ExternalAddresses& external);
// By index, a bit for each uplink that frames for the address come by: its own, or those of its networks.
std::vector<std::uint8_t> plan_uplinks_of(const config::Config& config,
                                          const conntrack::ExternalAddresses& external,
                                          const NetworkWays& ways);

// The network's external addresses as planned; none without NAT.
std::vector<net::Ipv4Addr> planned_addresses(const config::Network& network);
// These, and then the other lists of its rules, each once; none without NAT.
std::vector<std::vector<net::Ipv4Addr>> planned_pools(const config::Network& network);
// The number of the pool with just these addresses; else that of pools.
std::size_t pool_with(const std::vector<std::vector<net::Ipv4Addr>>& pools,
                      std::vector<net::Ipv4Addr> addresses);
// All of them as they are now: with what is rented, and without what is not.
std::vector<net::Ipv4Addr> external_addresses_now(const config::Network& network,
                                                  const RentedAddresses& rented);
// Those that any network drains: nothing new gets them, in no network.
std::set<net::Ipv4Addr> draining_addresses(const config::Config& config);

// Whether the forward listens on this address of its network's.
inline bool listens_on(const config::PortForward& forward, net::Ipv4Addr external) {
  return forward.address.value_or(external) == external;
}

}  // namespace vmnat::control
