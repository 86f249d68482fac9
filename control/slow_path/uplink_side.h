// SPDX-License-Identifier: Apache-2.0
// UplinkSide: control's part on one uplink's link: next hops, the router among them, our own addresses, the DHCP client
// when the configuration gives the uplink no address, and whether it can be used.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/config/model.h"
#include "control/gateway/live_nat.h"
#include "control/gateway/state_publisher.h"
#include "control/hosts/neighbors.h"
#include "control/hosts/own_addresses.h"
#include "control/log/log_budget.h"
#include "control/uplink/failover.h"
#include "control/uplink/probe.h"
#include "control/uplink/uplink_client.h"

namespace vmnat::control {

class UplinkSide {
 public:
  // All of them outlive it. With `rented` DHCP gives the address. `number`: the uplink's.
  UplinkSide(const config::Config& config, PortIndex number, const StatePublisher& states,
             const std::optional<RentedAddress>& rented, LogBudget& log);

  // Asks for the router that the configuration names.
  void resolve_router(SteadyTime now);
  // The configuration will name another address or router: the router is asked for. Ready once it has answered,
  // or has not for 3 s.
  void prepare(const config::Config& wanted, SteadyTime now);
  [[nodiscard]] bool is_prepared(SteadyTime now) const;
  // The next state has them.
  void adopt_prepared();
  // External addresses that have come and gone; the next state says so.
  void announce(net::Ipv4Addr address, SteadyTime now) { own_addresses_.announce(address, now); }
  void withdraw(net::Ipv4Addr address) { own_addresses_.withdraw(address); }
  // Whoever had our addresses, or another MAC for them, learns better at once; and it may be another link.
  void link_came_up(SteadyTime now);
  void hear_arp(std::span<const std::byte> frame, SteadyTime now);
  void hear_dhcp(std::span<const std::byte> frame);
  void hear_echo(std::span<const std::byte> frame) { probe_.receive(frame); }
  // A frame that came by `from` waits for its next hop's MAC.
  void wait_for_next_hop(const FrameBytes& frame, PortIndex from, SteadyTime now);
  // What is due. The lease that has come into effect, or changed, since the last call; else nullptr.
  const dhcp::Binding* advance(SteadyTime now);

  // The state that was filled in last is out of date.
  [[nodiscard]] bool has_changed() const;
  void fill(dataplane::ForwardingState& next);
  // To be sent after the state that was filled in is published: a frame that waited goes out when its
  // followers have the MAC, an ARP request when the workers pass on its answer.
  std::vector<FrameBytes> take_output();
  std::vector<Neighbors::Unreachable> take_unreachable() { return neighbors_.take_unreachable(); }

  // Why it cannot be used.
  [[nodiscard]] UplinkTrouble trouble() const;
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] net::Ipv4Addr probe() const { return probe_.target(); }

  [[nodiscard]] const Neighbors& neighbors() const { return neighbors_; }
  // The router has not answered; its last MAC is used, if there was one.
  [[nodiscard]] bool is_router_silent() const { return router_is_silent_; }
  [[nodiscard]] const OwnAddresses& own_addresses() const { return own_addresses_; }
  // Nothing when the configuration gives the uplink's address.
  [[nodiscard]] const std::optional<UplinkClient>& client() const { return client_; }
  // The uplink has no address, and DHCP is to give it one.
  [[nodiscard]] bool is_waiting_for_lease() const { return client_ && !client_->in_effect(); }
  // That the lease names.
  [[nodiscard]] std::vector<net::Ipv4Addr> resolvers_of_lease() const;
  // Unspecified: none. In the table of addresses it stands until its sessions have ended.
  [[nodiscard]] net::Ipv4Addr rented() const { return client_ ? client_->rented() : net::Ipv4Addr{}; }
  [[nodiscard]] net::Ipv4Addr rented_in_table() const {
    return client_ ? client_->in_table() : net::Ipv4Addr{};
  }

 private:
  // What the configuration says of them; nothing when DHCP does.
  struct Place {
    net::Ipv4Prefix address;
    net::Ipv4Addr router;
    bool operator==(const Place&) const = default;
  };
  static Place place_of(const config::Uplink& uplink) {
    return {uplink.address.value_or(net::Ipv4Prefix{}), uplink.gateway.value_or(net::Ipv4Addr{})};
  }
  [[nodiscard]] const dataplane::Uplink& current() const { return states_.current().uplinks[number_]; }
  [[nodiscard]] const config::Uplink& settings() const { return config::uplink_at(config_, number_); }
  void ask_probe(SteadyTime now);
  [[nodiscard]] bool is_own_address(net::Ipv4Addr address) const;
  [[nodiscard]] bool is_client_ahead() const;
  void watch_router(SteadyTime now);
  [[nodiscard]] dataplane::WordTable<dataplane::NextHop> next_hops() const;

  const config::Config& config_;  // what is in effect
  PortIndex number_;
  std::string name_;
  const StatePublisher& states_;
  LogBudget& log_;
  Neighbors neighbors_;
  OwnAddresses own_addresses_;
  std::optional<UplinkClient> client_;
  UplinkProbe probe_;
  Place place_, prepared_;
  SteadyTime prepared_until_{};  // no longer is the new router waited for
  bool place_changed_ = false;   // since a state was filled in
  bool router_is_silent_ = false;
  net::Ipv4Addr router_;           // who is watched
  net::MacAddr router_mac_;        // as it was last
  bool lease_changed_ = false;     // since a state was filled in
  bool neighbors_changed_ = true;  // the same
};

}  // namespace vmnat::control
