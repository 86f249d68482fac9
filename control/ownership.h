// SPDX-License-Identifier: Apache-2.0
// Ownership: which MAC and IPv4 addresses belong to which port, and how strict its guard therefore is.
//
// The gateway owns its own, a port what its configuration gives it and the MAC and address of its leases. A
// lease's MAC is free while the port is down, so that a VM may move to another one and ask again; its address
// stays taken until the lease ends. Example: vm1 (guard: on) without a lease is held against what others own
// (Guard::Others); once it has one, against its own (Guard::OwnBoth).
//
// Leases come as they change: nothing is looked through for a renewal.
#pragma once

#include <map>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/mac_learning.h"
#include "control/topology.h"
#include "dhcp/lease.h"

namespace vmnat::control {

class Ownership {
 public:
  Ownership(const std::vector<PortPlan>& ports, const dataplane::ForwardingState& state);

  // A lease of the network was bound or has ended.
  void note(NetworkIndex network, const dhcp::Lease& lease);
  // These are all that the network has.
  void replace(NetworkIndex network, std::span<const dhcp::Lease> leases);
  // True once after who owns what has changed.
  bool take_changed() { return std::exchange(changed_, false); }

  // Moves what was learned at another port than its owner's. In `state`, here and below, `up` is as it is
  // now.
  void settle(MacLearning& learned, const dataplane::ForwardingState& state) const;
  // Fills in the owners, and each port's guard and usual sender.
  void fill(dataplane::ForwardingState& state, const MacLearning& learned) const;
  // MACs were learned on the network, and nothing else has changed since it was filled in: each port's usual
  // sender. Owners are not looked through for it.
  void follow_learning(NetworkIndex index, dataplane::ForwardingState& state,
                       const MacLearning& learned) const;

 private:
  struct Owner {
    net::MacAddr mac;
    PortIndex port = 0;
    bool operator==(const Owner&) const = default;
  };
  struct OfNetwork {
    std::map<net::Ipv4Addr, Owner> leases;
    std::map<net::Ipv4Addr, PortIndex> fixed_addresses;  // of the gateway and the configuration
    std::map<net::MacAddr, PortIndex> fixed_macs;
  };
  using MacOwners = std::map<net::MacAddr, PortIndex>;
  using AddressOwners = std::map<net::Ipv4Addr, PortIndex>;

  void add_fixed(PortIndex port, const config::VmPort& config);
  [[nodiscard]] MacOwners mac_owners(const OfNetwork& network, const dataplane::ForwardingState& state) const;
  [[nodiscard]] AddressOwners address_owners(const OfNetwork& network) const;
  void fill_network(const OfNetwork& owned, dataplane::Network& network, dataplane::ForwardingState& state,
                    const MacLearning& learned) const;

  const std::vector<PortPlan>& ports_;
  std::vector<OfNetwork> networks_;  // by NetworkIndex
  std::unordered_map<std::string_view, PortIndex> port_by_name_;
  bool changed_ = true;
};

}  // namespace vmnat::control
