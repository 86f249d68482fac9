// SPDX-License-Identifier: Apache-2.0
// SlowPath: what control does for frames: DHCP, ARP on the uplink and for the targets of forwards, MAC
// learning, who owns which addresses, link state.
//
// Called a few hundred times a second by the control thread. It empties the workers' punt and learn rings,
// answers through the inject rings, and publishes a new forwarding state when something was learned.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "control/dhcp/dhcp_service.h"
#include "control/gateway/gateway.h"
#include "control/hosts/mac_learning.h"
#include "control/hosts/neighbors.h"
#include "control/hosts/own_addresses.h"
#include "control/hosts/ownership.h"
#include "control/log/log_budget.h"
#include "control/plan/forwards.h"
#include "control/uplink/uplink_client.h"

namespace vmnat::control {

class SlowPath {
 public:
  // Starts to resolve the gateway; the external addresses are announced whenever the uplink comes up.
  SlowPath(const config::Config& config, Gateway& gateway);

  void poll(SteadyTime now, dhcp::WallTime wall);
  // Workers have had nothing for us for a second: the next poll may wait a little longer.
  [[nodiscard]] bool is_quiet(SteadyTime now) const { return now - last_heard_ > std::chrono::seconds(1); }

  // A reload has changed the live part of the configuration that this was made with.
  void adopt(const config::Config& config);

  [[nodiscard]] const DhcpService& dhcp() const { return dhcp_; }
  // For what an operator does by hand.
  DhcpService& dhcp() { return dhcp_; }
  [[nodiscard]] const Neighbors& neighbors() const { return neighbors_; }
  [[nodiscard]] const OwnAddresses& own_addresses() const { return own_addresses_; }
  // ARP of VMs that claimed the address of their gateway.
  [[nodiscard]] std::uint64_t gateway_conflicts() const { return gateway_conflicts_; }
  // Nothing when the configuration gives the uplink's address.
  [[nodiscard]] const std::optional<UplinkClient>& uplink_client() const { return uplink_; }
  // The uplink has no address, and DHCP is to give it one.
  [[nodiscard]] bool is_waiting_for_lease() const { return uplink_ && !uplink_->in_effect(); }
  // That the uplink's lease names.
  [[nodiscard]] std::vector<net::Ipv4Addr> resolvers_of_lease() const {
    return uplink_ && uplink_->in_effect() ? uplink_->in_effect()->dns : std::vector<net::Ipv4Addr>{};
  }
  // The targets of forwards, by network.
  [[nodiscard]] const std::vector<Neighbors>& inside() const { return inside_; }
  [[nodiscard]] const MacLearning& macs() const { return macs_; }
  // ARP requests sent on networks, each port's copy counted.
  [[nodiscard]] std::uint64_t inside_requests() const { return inside_requests_; }
  // Frames that could not be injected: no buffer, or the worker's ring was full.
  [[nodiscard]] std::uint64_t inject_dropped() const { return inject_dropped_; }
  // What publishing has cost so far: forwarding states, and tables that were made anew for them.
  struct Rebuilt {
    std::uint64_t states = 0, owner_tables = 0, mac_tables = 0;
  };
  [[nodiscard]] const Rebuilt& rebuilt() const { return rebuilt_; }

 private:
  struct Stale {  // tables of a network
    bool macs = true;
    bool hosts = true;
  };
  void tell_workers(SteadyTime now);
  // Notes that a table, and so the published state, is out of date.
  void note_change(bool has_changed, bool& is_stale);
  void watch_links(SteadyTime now);
  void watch_router(SteadyTime now);
  void tell_who_waits() const;
  void uplink_came_up(SteadyTime now);
  unsigned learn_macs(dataplane::LearnRing& ring, SteadyTime now, dhcp::WallTime wall);
  void learn_mac(const dataplane::LearnedMac& learned);
  void follow_leases();
  unsigned take_punts(SteadyTime now, dhcp::WallTime wall);
  unsigned take_burst(dataplane::FrameRing& ring, SteadyTime now, dhcp::WallTime wall);
  void settle(rte_mbuf* frame, SteadyTime now, dhcp::WallTime wall);
  void hear_arp(PortIndex port, SteadyTime now, dhcp::WallTime wall);
  void hear_uplink_arp(SteadyTime now);
  void hear_inside_arp(PortIndex port, SteadyTime now, dhcp::WallTime wall);
  void wait_for_next_hop(PortIndex from, SteadyTime now);
  void keep_targets_resolved(const config::Config& config, SteadyTime now);
  void inject(std::span<const std::byte> frame, PortIndex port);
  void resolve_host(net::Ipv4Addr host, PortIndex from, SteadyTime now);
  void return_to_worker(std::span<const std::byte> frame);
  void return_unreachable(Neighbors& neighbors, dataplane::DropReason reason);
  void push(std::span<const std::byte> frame, dataplane::FrameNote note, WorkerIndex worker);
  void inject_on_network(std::span<const std::byte> frame, NetworkIndex network);
  [[nodiscard]] dataplane::WordTable<dataplane::InsideHost> hosts_of(NetworkIndex network,
                                                                     const dataplane::Network& state) const;
  void advance_uplink(SteadyTime now);
  void listen_for_checks(SteadyTime now);
  void publish();
  void rebuild_owners(dataplane::ForwardingState& next);
  void rebuild_network(NetworkIndex index, dataplane::ForwardingState& next);
  [[nodiscard]] dataplane::WordTable<dataplane::NextHop> next_hops() const;

  const config::Config& config_;  // what is in effect
  Gateway& gateway_;
  DhcpService dhcp_;
  Neighbors neighbors_;
  OwnAddresses own_addresses_;
  std::optional<UplinkClient> uplink_;
  std::vector<Neighbors> inside_;  // by network
  MacLearning macs_;
  Ownership ownership_;
  SteadyTime last_heard_{};                    // from a worker
  std::vector<bool> is_up_;                    // by PortIndex
  std::vector<dataplane::Offloads> offloads_;  // the same
  std::vector<std::uint16_t> tx_queues_;       // the same, open ones
  std::vector<bool> awaits_arp_;               // by network
  LogBudget log_;
  bool changed_ = false;           // the published state is out of date
  bool owners_changed_ = true;     // ... and so are its owners,
  bool neighbors_changed_ = true;  // or next hops,
  std::vector<Stale> stale_;       // or tables by network
  SteadyTime next_round_{};        // of tell_workers()
  bool router_is_silent_ = false;
  net::MacAddr router_mac_;  // as it was last
  std::uint64_t gateway_conflicts_ = 0;
  Rebuilt rebuilt_;
  FrameBytes bytes_;  // of the frame in hand
  std::uint64_t inside_requests_ = 0;
  std::uint64_t inject_dropped_ = 0;
};

}  // namespace vmnat::control
