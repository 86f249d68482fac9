// SPDX-License-Identifier: Apache-2.0
// Ownership: which MAC and IPv4 addresses belong to which port, and how strict the port's guard therefore is.
//
// The gateway owns its own addresses. A port owns what its configuration gives it, and the MAC and address of
// its leases until they end, whether the port is up or down: a VM that reboots finds its name as it left it.
// Example: vm1 (guard: on) without a lease is checked only against the addresses that other ports own
// (Guard::Others); once it has a lease, it may send from its own addresses alone (Guard::OwnBoth).
//
// Leases are noted one by one as they change, so a renewal costs no walk through the others. A network's
// tables are made anew only when something of that network has changed.
#pragma once

#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "control/hosts/mac_learning.h"
#include "control/plan/ports.h"
#include "control/plan/vm_places.h"
#include "dhcp/lease.h"

namespace vmnat::control {

class Ownership {
 public:
  // The ports and places outlive it.
  Ownership(const std::vector<PortPlan>& ports, const VmPlaces& places,
            const dataplane::ForwardingState& state);

  // Ports and networks are others than before: only what the configuration gives them is owned, and all leases are
  // to be said again.
  void begin_anew(const dataplane::ForwardingState& state);

  // A lease of the network was bound or has ended.
  void note(NetworkIndex network, const dhcp::Lease& lease);
  // These are all that the network has.
  void replace(NetworkIndex network, std::span<const dhcp::Lease> leases);
  // VMs of the network are at other ports now, and what they own with them.
  void note_moved(NetworkIndex network);
  // True once after who owns what has changed.
  bool take_changed() { return std::exchange(changed_, false); }

  // MACs that have got an owner since the last call move to its port, if they were learned at another.
  void bring_macs_home(MacLearning& learned);
  // Fills in the owners, and each port's guard and usual sender.
  void fill(dataplane::ForwardingState& state, const MacLearning& learned);
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
  struct OwnMac {
    NetworkIndex network;
    net::MacAddr mac;
    PortIndex port;
  };
  struct OwnAddress {
    net::Ipv4Addr address;
    net::MacAddr mac;  // that it is leased to; zero: by configuration
  };
  struct OfPort {
    dataplane::Guard least = dataplane::Guard::GatewayOnly;
    std::vector<OwnAddress> addresses;  // ascending
  };
  struct OfNetwork {
    std::map<net::Ipv4Addr, Owner> leases;
    std::map<net::Ipv4Addr, PortIndex> fixed_addresses;  // of the gateway and the configuration
    std::map<net::MacAddr, PortIndex> fixed_macs;
    // Made of the above, where what is fixed comes first, when that has changed.
    bool is_stale = true;
    dataplane::WordTable<PortIndex> mac_owners, address_owners;
    std::unordered_map<PortIndex, OfPort> by_port;
    bool vms_own = false;  // more than the gateway owns something
  };

  void add_fixed(PortIndex port, const config::VmPort& config);
  [[nodiscard]] bool is_guarded(PortIndex port) const;
  void refresh(OfNetwork& network) const;
  void refresh_macs(OfNetwork& network) const;
  void refresh_addresses(OfNetwork& network) const;
  void fill_port(const OfNetwork& owned, PortIndex index, dataplane::Port& port,
                 const MacLearning& learned) const;

  const std::vector<PortPlan>& ports_;
  const VmPlaces& places_;           // of owners, who are known by their origin
  std::vector<OfNetwork> networks_;  // by NetworkIndex
  std::unordered_map<std::string, PortIndex> port_by_name_;
  std::vector<OwnMac> newly_owned_;
  bool changed_ = true;
};

}  // namespace vmnat::control
