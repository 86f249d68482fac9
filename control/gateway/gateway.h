// SPDX-License-Identifier: Apache-2.0
// Gateway: what forwards packets, running: packet buffers, devices, rings, external ports, workers on their
// lcores. It is made from a plan (control/plan/gateway_plan.h) after the EAL has started.
//
// Who works with a part of it is given that part, and not the gateway.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "control/devices/devices.h"
#include "control/devices/eal.h"
#include "control/devices/guest_faults.h"
#include "control/devices/nic_steering.h"
#include "control/gateway/doorbells.h"
#include "control/gateway/packet_pools.h"
#include "control/gateway/state_publisher.h"
#include "control/gateway/worker_flush.h"
#include "control/gateway/worker_rings.h"
#include "control/gateway/workers.h"
#include "control/image/session_keeper.h"
#include "control/plan/gateway_plan.h"

namespace vmnat::control {

class Gateway {
 public:
  // Opens all devices and starts the workers. `config` outlives it.
  static Result<std::unique_ptr<Gateway>> start(const config::Config& config, const EalPlan& eal);

  [[nodiscard]] const std::vector<PortPlan>& ports() const { return plan_.ports; }
  [[nodiscard]] const NatPlan& first_nat() const { return plan_.nat; }
  [[nodiscard]] rte_mempool* packet_pool() const { return pools_->of_control(); }  // for control's own frames
  [[nodiscard]] Devices& devices() { return devices_; }                            // by PortIndex
  // How replies come to their worker; nothing to say with one worker.
  [[nodiscard]] const std::optional<NicSteering>& steering() const { return steering_; }
  [[nodiscard]] conntrack::ExternalPorts& external_ports() { return *external_ports_; }
  [[nodiscard]] StatePublisher& states() { return *states_; }
  [[nodiscard]] std::vector<ControlRings>& rings() { return rings_->of_control(); }  // by worker
  [[nodiscard]] Workers& workers() { return workers_; }
  [[nodiscard]] dataplane::Doorbell& control_doorbell() { return doorbells_.of_control(); }
  [[nodiscard]] FlushTurns& flush_turns() { return flush_turns_; }
  [[nodiscard]] SessionKeeper& session_keeper() { return *session_keeper_; }

 private:
  explicit Gateway(GatewayPlan plan) : plan_(std::move(plan)), doorbells_(plan_.worker_count) {}
  Result<void> make_pools(const config::Config& config, const EalPlan& eal);
  Result<void> open_devices();
  [[nodiscard]] std::vector<rte_mempool*> pools_by_queue(const PortPlan& port) const;
  void tell_placement(const EalPlan& eal) const;
  void tell_pollers(std::size_t port, const EalPlan& eal) const;
  void steer_uplink();
  Result<void> make_external_ports();
  void publish_first_state(const config::Uplink& uplink);
  Result<void> make_rings();
  using Tables = std::vector<std::unique_ptr<conntrack::Conntrack>>;  // by worker
  Result<void> find_former_sessions(const config::Config& config, const EalPlan& eal);
  Result<Tables> make_tables(const config::Config& config, const EalPlan& eal);
  void restore_sessions(const config::Config& config, const Tables& tables);
  [[nodiscard]] net::Ipv4Addr formerly_rented(const config::Uplink& uplink) const;
  [[nodiscard]] SessionNames session_names(const config::Config& config, net::Ipv4Addr rented) const;
  Result<void> make_workers(const config::Config& config, const EalPlan& eal);
  dataplane::Worker::Settings settings_of(WorkerIndex worker, config::Idle idle);
  std::vector<dataplane::ReceiveQueue> queues_of(WorkerIndex worker);
  void connect_doorbells();
  [[nodiscard]] unsigned guests_of(WorkerIndex worker) const;

  // In the order of construction; the workers stop first.
  GatewayPlan plan_;
  Doorbells doorbells_;
  std::optional<PacketPools> pools_;
  Devices devices_;  // by PortIndex
  std::optional<NicSteering> steering_;
  std::unique_ptr<WorkerRings> rings_;
  std::unique_ptr<conntrack::ExternalPorts> external_ports_;
  std::unique_ptr<StatePublisher> states_;
  std::optional<SessionKeeper> session_keeper_;  // the workers' records are its memory
  std::optional<SparseMemory> sparse_records_;   // where that is a tmpfs's
  Workers workers_;
  FlushTurns flush_turns_;
};

}  // namespace vmnat::control
