// SPDX-License-Identifier: Apache-2.0
// InsideHosts: VMs that inbound frames are for, found by ARP on their networks: the targets of forwards,
// which are asked for from the start, and VMs that nothing but a mapping speaks of.
//
// A frame for a VM whose MAC is not known waits, and is looked up again once it is: by the same Neighbors
// that resolve next hops on the uplink's link, one for each network.
#pragma once

#include <algorithm>
#include <set>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "control/config/model.h"
#include "control/gateway/state_publisher.h"
#include "control/hosts/neighbors.h"
#include "control/log/log_budget.h"
#include "control/plan/forwards.h"
#include "control/plan/ports.h"
#include "control/slow_path/injector.h"

namespace vmnat::control {

class InsideHosts {
 public:
  // All of them outlive it.
  InsideHosts(const config::Config& config, const std::vector<PortPlan>& ports, const StatePublisher& states,
              LogBudget& log, SteadyTime now);

  // These networks have come or left, or the gateway is another host on them. The VMs that remotes reach there
  // follow by follow_targets().
  void follow_networks(std::span<const NetworkIndex> changed);

  // A VM says by ARP that it has the address of its gateway. It is counted and told in the log, no more: the
  // switch lets no VM be the gateway (dataplane/pipeline/guard.h). False: the frame says nothing of the kind.
  bool note_gateway_claim(std::span<const std::byte> frame, PortIndex port, SteadyTime now);
  // From a VM's port.
  void hear_arp(std::span<const std::byte> frame, PortIndex port, SteadyTime now);
  // A frame that came by `from` waits for the host.
  void wait_for_host(net::Ipv4Addr host, const FrameBytes& frame, PortIndex from, SteadyTime now);
  // Asks a network who has an address, for others: the answer is not kept.
  void ask(NetworkIndex network, net::Ipv4Addr address, Injector& injector);
  // Whoever is behind the port may have another MAC now. Each network is asked anew once a second at most: a VM
  // can come and go as fast as it likes.
  void link_came_up(PortIndex port, SteadyTime now) {
    Asking& asking = asking_[ports_[port].network];
    asking.next = std::max(asking.next, now);
    asking.is_due = true;
  }
  // Other VMs that remotes reach, by forwards or an address of their own: those that are new are asked for, the
  // others may be forgotten.
  void follow_targets(const config::Config& config, SteadyTime now);
  void advance(SteadyTime now);

  // The state that was filled in last is out of date.
  [[nodiscard]] bool has_changed() const;
  // `has_new_macs`: by network, its learned MACs are others than in the last state.
  void fill(dataplane::ForwardingState& next, const std::vector<bool>& has_new_macs);
  // What has been resolved, asked and given up, after the state that was filled in is published.
  void send(Injector& injector);

  [[nodiscard]] const std::vector<Neighbors>& all() const { return neighbors_; }  // by network
  // ARP requests sent, each port's copy counted.
  [[nodiscard]] std::uint64_t requests() const { return requests_; }
  [[nodiscard]] std::uint64_t gateway_claims() const { return gateway_claims_; }

 private:
  void transmit(std::span<const std::byte> frame, NetworkIndex network, Injector& injector);
  [[nodiscard]] dataplane::WordTable<dataplane::InsideHost> hosts_of(NetworkIndex network,
                                                                     const dataplane::Network& state) const;

  const std::vector<PortPlan>& ports_;
  const StatePublisher& states_;
  LogBudget& log_;
  std::vector<Neighbors> neighbors_;                          // by network
  std::set<std::pair<NetworkIndex, net::Ipv4Addr>> targets_;  // of forwards
  struct Asking {
    bool is_due = false;
    SteadyTime next{};  // not before
  };
  std::vector<Asking> asking_;     // the same
  std::vector<bool> has_changed_;  // the same
  std::uint64_t requests_ = 0;
  std::uint64_t gateway_claims_ = 0;
};

}  // namespace vmnat::control
