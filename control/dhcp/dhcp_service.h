// SPDX-License-Identifier: Apache-2.0
// DhcpService: the DHCP servers of all networks that have one, in the daemon's terms: port numbers in, frames
// out, leases listed and kept.
//
// Replies are held back until the leases that they confirm are on stable storage: commit() makes one write
// for all frames of a poll. When the disk does not take them, leases go on in memory, and notes() says so
// (lease_keeper.h).
//
// A lease has an end by the wall clock, which other programs read, but lasts by the steady clock. When the
// two part by more than a second, the wall clock was set, and all ends are moved with it, in the journal too.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "control/config/model.h"
#include "control/dhcp/lease_exports.h"
#include "control/dhcp/lease_keeper.h"
#include "control/dhcp/offer_checks.h"
#include "control/plan/ports.h"
#include "control/plan/vm_places.h"
#include "dhcp/server.h"

namespace vmnat::control {

class DhcpService {
 public:
  // Takes over the leases of before the restart. All references outlive it, and change in place.
  DhcpService(const config::Config& config, const std::vector<PortPlan>& ports, const VmPlaces& places,
              dhcp::WallTime now, SteadyTime steady);

  void receive(std::span<const std::byte> frame, PortIndex port, dhcp::WallTime now, SteadyTime steady);
  // An ARP packet from a VM's port: its sender may have an address that was to be offered. It is believed as
  // long as the port may claim addresses (Server::may_claim).
  void receive_arp(std::span<const std::byte> frame, PortIndex port, dhcp::WallTime now, SteadyTime steady);
  // Ends leases whose time is over, answers the DISCOVERs whose addresses nobody has claimed, and brings
  // journal and exports up to date.
  void advance(dhcp::WallTime now, SteadyTime steady);
  OfferChecks& checks() { return checks_; }
  [[nodiscard]] const OfferChecks& checks() const { return checks_; }
  // What VMs are told where `dhcp.dns` says nothing; none: the host's resolvers.
  void use_resolvers(const std::vector<net::Ipv4Addr>& resolvers);
  // Whether the gateway answers DNS where it is to: else VMs are told the host's resolvers there, too.
  void use_gateway_as_resolver(bool is_one);
  // New settings, same leases.
  void reconfigure();
  // Ports and networks have come, left or changed, or whether a network has DHCP. Leases of a network that has it no
  // more stay in its journal: it finds them there when it comes back.
  void follow_networks(dhcp::WallTime now, SteadyTime steady);

  struct Reply {
    PortIndex port;  // that the request came from
    dhcp::Frame frame;
  };
  // A network's leases that were bound or have ended; or, after a restart or new settings, all that it has.
  struct News {
    NetworkIndex network;
    bool is_whole;
    std::vector<dhcp::Lease> leases;
  };
  struct Committed {
    std::vector<News> news;
    std::vector<Reply> replies;
  };
  // Keeps the leases of all frames received since the last call on stable storage, then gives out what came
  // of them. The caller applies `news` before it sends `replies`: a VM hears of its lease after its guard
  // has.
  Committed commit();

  // By hand, see dhcp_service_operations.cc. Errors say what stands against it, and nothing has changed then.
  // Ends the lease of an address; answers whose it was.
  Result<dhcp::Lease> release(net::Ipv4Addr address);
  // Adds a reservation to those of the configuration, kept over restarts; answers its network's name.
  Result<std::string> reserve(const dhcp::Reservation& reservation);
  Result<std::string> unreserve(net::Ipv4Addr address);
  // Grows with each change of leases or reservations.
  [[nodiscard]] std::uint64_t lease_changes() const { return lease_changes_; }
  // "configured", "live", or empty: by whom the address is reserved.
  [[nodiscard]] std::string_view reservation_of(const std::string& network, net::Ipv4Addr address) const;

  struct NetworkLeases {
    std::string network;
    std::vector<dhcp::Lease> leases;
  };
  [[nodiscard]] std::vector<NetworkLeases> leases() const;
  [[nodiscard]] std::size_t lease_count(NetworkIndex network) const;  // bound ones
  // The leases that are held through a port, by address. Good until the next call that changes something.
  [[nodiscard]] std::vector<const dhcp::Lease*> leases_through(PortIndex port) const;
  // The address that a VM holds through the port; the latest, if several.
  [[nodiscard]] std::optional<net::Ipv4Addr> address_of(PortIndex port) const;
  [[nodiscard]] dhcp::Counters counters() const;  // summed over the networks
  [[nodiscard]] dhcp::IgnoredCounts ignored_from(PortIndex port) const;
  // Claims of addresses that were about to be offered: those that kept one from being offered, and those of
  // ports that had claimed enough, or of addresses that are held.
  [[nodiscard]] std::uint64_t claims_heeded() const { return claims_.heeded; }
  [[nodiscard]] std::uint64_t claims_ignored() const { return claims_.ignored; }
  // Writes to the journal that failed, and changes that wait for one that succeeds.
  [[nodiscard]] std::uint64_t journal_failures() const;
  [[nodiscard]] std::size_t journal_waiting() const;
  [[nodiscard]] std::vector<std::string> notes() const;
  // The first broken invariant of the lease tables in words, empty when all hold.
  [[nodiscard]] std::string check_invariants() const;

 private:
  struct Instance {
    std::string network;
    dhcp::Server server;
    LeaseKeeper keeper;
    std::vector<Reply> replies{};
    std::vector<dhcp::Reservation> live{};  // reservations that the configuration does not have
    LeaseExports exports{};
    std::vector<dhcp::Lease> news{};
    bool all_is_news = true;
  };
  // For one line of the log a second at most.
  struct Claims {
    std::uint64_t heeded = 0, ignored = 0, said = 0;
    std::string last;
    SteadyTime next_line{};
  };
  // One of the networks that have DHCP; nullptr: the address is of none.
  std::pair<const NetworkIndex, Instance>* serving(net::Ipv4Addr address);
  void serve(NetworkIndex number, dhcp::WallTime now, SteadyTime steady);
  void stop_serving(Instance& instance);
  [[nodiscard]] std::string reservations_path(const Instance& instance) const;
  void load_reservations(NetworkIndex network, Instance& instance);
  [[nodiscard]] std::string against(const dhcp::Reservation& reservation, NetworkIndex network) const;
  Result<void> take_over(NetworkIndex network, Instance& instance, std::vector<dhcp::Reservation> live);
  enum class Asking { First, Repeated };  // Repeated: after a check
  void answer(std::span<const std::byte> frame, PortIndex port, dhcp::WallTime now, SteadyTime steady,
              Asking asking);
  void restore(Instance& instance, dhcp::WallTime now, SteadyTime steady);
  void follow_clock(dhcp::WallTime now, SteadyTime steady);
  void keep(Instance& instance);
  void tell_of_claims(SteadyTime steady);
  [[nodiscard]] dhcp::PortLimits limits_of(PortIndex port) const;
  [[nodiscard]] const std::string& name_at(PortIndex port) const { return ports_[places_.vm_at(port)].name; }
  [[nodiscard]] dhcp::NetworkSettings settings_of(NetworkIndex network, const Instance& instance) const;

  const config::Config& config_;  // its networks are at their numbers
  const std::vector<PortPlan>& ports_;
  const VmPlaces& places_;  // by whose name leases are known
  std::vector<std::string> notes_;
  std::vector<net::Ipv4Addr> resolvers_;  // of the uplink's lease
  bool is_gateway_resolver_ = false;
  std::uint64_t lease_changes_ = 0;
  void note_change(Instance& instance);
  std::map<NetworkIndex, Instance> servers_;
  OfferChecks checks_;
  Claims claims_;
  dhcp::Counters counters_before_;  // of networks that are served no more
  std::uint64_t journal_failures_before_ = 0;
  dhcp::WallTime now_;  // as last heard of
  SteadyTime steady_;
  dhcp::WallTime::duration wall_ahead_;  // of the steady clock, until it is set
};

// What a port may ask for: `dhcp.limits`, by default what suits a VM, or what is behind a device or a relay.
dhcp::PortLimits dhcp_limits(const config::Dhcp& dhcp, const config::VmPort& port);

// The configuration's DHCP section as the server wants it.
dhcp::NetworkSettings dhcp_settings(const config::Network& network);

}  // namespace vmnat::control
