// SPDX-License-Identifier: Apache-2.0
// Gateway: what forwards packets, running: packet buffers, devices, rings, external ports, workers on their
// lcores. It is made from a plan (control/plan/gateway_plan.h) after the EAL has started, and goes over to the plan
// of another configuration while the workers forward.
//
// Who works with a part of it is given that part, and not the gateway.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "control/devices/devices.h"
#include "control/devices/eal.h"
#include "control/devices/guest_faults.h"
#include "control/devices/nic_steering.h"
#include "control/gateway/departures.h"
#include "control/gateway/doorbells.h"
#include "control/gateway/packet_pools.h"
#include "control/gateway/polling.h"
#include "control/gateway/port_totals.h"
#include "control/gateway/state_publisher.h"
#include "control/gateway/worker_flush.h"
#include "control/gateway/worker_rings.h"
#include "control/gateway/workers.h"
#include "control/image/session_keeper.h"
#include "control/plan/gateway_plan.h"

namespace vmnat::control {

class Gateway {
 public:
  // Opens all devices and starts the workers. `eal` outlives it.
  static Result<std::unique_ptr<Gateway>> start(const config::Config& config, const EalPlan& eal);

  // The plan for another configuration. An Error: there are no numbers left, or no memory for its rules.
  [[nodiscard]] Result<GatewayPlan> plan(const config::Config& wanted) const;
  // Ports and networks come, go and change, and nobody else's frames are lost over it (reconfiguration.cc). The
  // devices of those who come are opened first: an Error means that nothing has changed. When this returns the
  // workers use what has come, nobody uses what has left, and the devices of that are closed; its sessions end, and
  // its numbers get free, in advance(). The NAT follows by LiveNat.
  Result<TopologyChange> reconfigure(GatewayPlan next);
  // Other settings of the same networks and ports, which control alone reads.
  void take_over(const config::Config& config) { plan_.config = at_numbers(config, plan_.numbers.networks); }
  // Goes on with what is under way. Called again and again.
  void advance(SteadyTime now);

  // What is in effect, with its networks at their numbers. This, and the ports, change in place.
  [[nodiscard]] const config::Config& config() const { return plan_.config; }
  [[nodiscard]] const std::vector<PortPlan>& ports() const { return plan_.ports; }
  [[nodiscard]] const RulePlan& rules() const { return plan_.rules; }
  [[nodiscard]] const PortAccounts& port_accounts() const { return *port_accounts_; }
  [[nodiscard]] const NatPlan& first_nat() const { return plan_.nat; }
  [[nodiscard]] const NetworkWays& first_ways() const { return plan_.ways; }
  [[nodiscard]] rte_mempool* packet_pool() const { return pools_->of_control(); }  // for control's own frames
  [[nodiscard]] Devices& devices() { return devices_; }                            // by PortIndex
  // How replies come to their worker; nothing to say with one worker.
  [[nodiscard]] const std::optional<NicSteering>& steering() const { return steering_; }
  [[nodiscard]] conntrack::ExternalPorts& external_ports() { return *external_ports_; }
  [[nodiscard]] StatePublisher& states() { return *states_; }
  [[nodiscard]] std::vector<ControlRings>& rings() { return rings_->of_control(); }  // by worker
  [[nodiscard]] const WorkerRings& worker_rings() const { return *rings_; }
  [[nodiscard]] const PacketPools& packet_pools() const { return *pools_; }
  [[nodiscard]] Workers& workers() { return workers_; }
  [[nodiscard]] dataplane::Doorbell& control_doorbell() { return doorbells_.of_control(); }
  [[nodiscard]] FlushTurns& flush_turns() { return flush_turns_; }
  [[nodiscard]] Polling& polling() { return polling_; }
  [[nodiscard]] SessionKeeper& session_keeper() { return *session_keeper_; }

 private:
  using OpenedDevices = std::map<PortIndex, std::unique_ptr<Device>>;
  // A port that has to leave before another one finds room on the same socket or interface.
  struct Exchange {
    PortIndex leaves, comes;
  };
  // Ports whose devices are closed once no worker uses an older state.
  struct Closing {
    std::uint64_t awaited_state;
    std::vector<PortIndex> ports;
  };

  Gateway(GatewayPlan plan, const EalPlan& eal);
  Result<void> make_pools(const config::Config& config, const EalPlan& eal);
  Result<void> open_devices();
  [[nodiscard]] std::vector<rte_mempool*> pools_by_queue(const PortPlan& port) const;
  void tell_placement() const;
  void tell_pollers(std::size_t port) const;
  void steer_uplink();
  Result<void> make_rules();
  Result<void> make_external_ports();
  void publish_first_state();
  void size_socket_queues();
  Result<void> make_rings();
  using Tables = std::vector<std::unique_ptr<conntrack::Conntrack>>;  // by worker
  Result<void> find_former_sessions();
  Result<Tables> make_tables(const config::Config& config, const EalPlan& eal);
  void restore_sessions(const Tables& tables);
  [[nodiscard]] RentedAddresses formerly_rented() const;
  [[nodiscard]] RentedAddresses rented_now() const;
  [[nodiscard]] RentedAddresses rented_in(net::Ipv4Addr of_first,
                                          const std::map<std::string, net::Ipv4Addr>& more) const;
  [[nodiscard]] SessionNames session_names(const RentedAddresses& rented) const;
  Result<void> make_workers(const config::Config& config, const EalPlan& eal);
  dataplane::Worker::Settings settings_of(WorkerIndex worker, config::Idle idle);
  void take_device(PortIndex port, std::unique_ptr<Device> device);
  void connect_doorbells(PortIndex port);

  Result<OpenedDevices> open_who_comes(const GatewayPlan& next, const TopologyChange& change);
  Result<void> exchange(const GatewayPlan& next, const std::vector<Exchange>& exchanges,
                        OpenedDevices& opened);
  Result<void> open_in_exchange(const GatewayPlan& next, const std::vector<Exchange>& exchanges,
                                OpenedDevices& opened);
  void withdraw(const std::vector<PortIndex>& ports);
  void bring_back(const std::vector<PortIndex>& ports);
  void publish_plan();
  bool close_unused();
  bool wait_until_unused();

  // In the order of construction; the workers stop first.
  const EalPlan& eal_;
  GatewayPlan plan_;
  std::optional<PortAccounts> port_accounts_;  // by PortIndex
  Doorbells doorbells_;
  std::optional<PacketPools> pools_;
  Devices devices_;  // by PortIndex
  Polling polling_;
  std::optional<NicSteering> steering_;
  std::unique_ptr<WorkerRings> rings_;
  std::unique_ptr<conntrack::ExternalPorts> external_ports_;
  std::unique_ptr<StatePublisher> states_;
  std::optional<SessionKeeper> session_keeper_;  // the workers' records are its memory
  std::optional<SparseMemory> sparse_records_;   // where that is a tmpfs's
  Workers workers_;
  FlushTurns flush_turns_;
  std::vector<Closing> closing_;
  Departures departures_;
};

}  // namespace vmnat::control
