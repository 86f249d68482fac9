// SPDX-License-Identifier: Apache-2.0
// Launch: everything that the packet path needs, made in order and torn down in reverse: packet buffers,
// devices, rings, external ports, workers on their lcores.
//
// The EAL has been started before. Each member's order below is the order of construction.
#pragma once

#include <memory>
#include <vector>

#include "base/ids.h"
#include "control/devices/device.h"
#include "control/devices/eal.h"
#include "control/devices/nic_steering.h"
#include "control/devices/numa.h"
#include "control/gateway/state_publisher.h"
#include "control/gateway/worker_flush.h"
#include "control/plan/external_addresses.h"
#include "control/plan/ports.h"
#include "dataplane/worker/worker.h"

namespace vmnat::control {

struct PacketPoolFree {
  void operator()(rte_mempool* pool) const;
};
struct RingFree {
  void operator()(rte_ring* ring) const;
};
using PacketPool = std::unique_ptr<rte_mempool, PacketPoolFree>;
using OwnedRing = std::unique_ptr<rte_ring, RingFree>;

// Control's ends of one worker's rings.
struct ControlRings {
  dataplane::FrameRing punt;         // to read
  dataplane::FrameRing uplink_punt;  // to read, first
  dataplane::LearnRing learn;        // to read
  dataplane::FrameRing inject;       // to write
};

class Launched {
 public:
  static Result<std::unique_ptr<Launched>> launch(const config::Config& config, const EalPlan& eal);
  ~Launched();  // stops the workers first
  Launched(const Launched&) = delete;
  Launched& operator=(const Launched&) = delete;

  // Of control: for frames of its own.
  rte_mempool* packet_pool() { return pools_[pools_plan_.of_control].get(); }
  [[nodiscard]] const std::vector<PortPlan>& ports() const { return ports_; }
  [[nodiscard]] Device& device(PortIndex port) { return devices_[port]; }
  [[nodiscard]] const Device& device(PortIndex port) const { return devices_[port]; }
  // How replies come to their worker; nothing to say with one worker.
  [[nodiscard]] const std::optional<NicSteering>& steering() const { return steering_; }
  [[nodiscard]] const conntrack::ExternalPorts& external_ports() const { return *external_ports_; }
  // See ExternalPorts::set_rented for when.
  void rent_address(net::Ipv4Addr address) { external_ports_->set_rented(address); }
  // Whose turn it is to end sessions.
  WorkerFlush::Turn& flush_turn() const { return flush_turn_; }
  [[nodiscard]] const std::vector<std::unique_ptr<dataplane::Worker>>& workers() const { return workers_; }
  std::vector<ControlRings>& rings() { return control_rings_; }
  StatePublisher& states() { return *states_; }
  // By network: what the policies of a configuration say with the external addresses of the start.
  [[nodiscard]] const AddressLists& address_lists() const { return address_lists_; }
  // The workers' time, now.
  [[nodiscard]] Time now() const;
  // Every worker has finished a poll with this generation of the forwarding state, or a later one.
  [[nodiscard]] std::uint64_t least_seen_generation() const;
  // Frees forwarding states that no worker can be using any more.
  void reclaim_states();

 private:
  Launched() = default;
  Result<void> make_pools(const config::Config& config, const EalPlan& eal);
  [[nodiscard]] std::vector<rte_mempool*> pools_by_queue(const PortPlan& port) const;
  [[nodiscard]] unsigned guests_of(WorkerIndex worker, unsigned worker_count) const;
  Result<void> open_devices(const config::Config& config, unsigned worker_count);
  void tell_placement(const EalPlan& eal) const;
  void steer_uplink(unsigned worker_count);
  Result<void> make_workers(const config::Config& config, const EalPlan& eal);
  Result<std::vector<dataplane::Rings>> make_rings(unsigned worker_count);
  Result<rte_ring*> make_ring(const std::string& name, unsigned size, unsigned element_size);
  Result<void> start_workers();

  std::vector<PortPlan> ports_;
  PoolsPlan pools_plan_;
  std::vector<PacketPool> pools_;  // as planned
  std::vector<Device> devices_;    // by PortIndex
  std::optional<NicSteering> steering_;
  std::vector<OwnedRing> rings_;
  std::vector<ControlRings> control_rings_;  // by worker
  AddressLists address_lists_;
  std::unique_ptr<StatePublisher> states_;
  std::unique_ptr<conntrack::ExternalPorts> external_ports_;
  std::vector<std::unique_ptr<dataplane::Worker>> workers_;
  mutable WorkerFlush::Turn flush_turn_;
  unsigned running_ = 0;
  std::uint64_t start_tsc_ = 0;
};

}  // namespace vmnat::control
