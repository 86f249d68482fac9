// SPDX-License-Identifier: Apache-2.0
// Injector: frames on their way from control to the workers, with the errand that each has.
#pragma once

#include <span>
#include <vector>

#include "base/ids.h"
#include "conntrack/external_ports.h"
#include "control/gateway/state_publisher.h"
#include "control/gateway/worker_rings.h"
#include "control/hosts/neighbors.h"
#include "control/plan/ports.h"
#include "dataplane/frame/packet.h"

struct rte_mempool;

namespace vmnat::control {

class Injector {
 public:
  // All of them outlive it. `pool` is for copies of the frames, `rings` are by worker.
  Injector(rte_mempool* pool, std::vector<ControlRings>& rings, const std::vector<PortPlan>& ports,
           const conntrack::ExternalPorts& external_ports, const StatePublisher& states)
      : pool_(pool), rings_(rings), ports_(ports), external_ports_(external_ports), states_(states) {}

  // A frame of control's own leaves by the port.
  void transmit(std::span<const std::byte> frame, PortIndex port);
  // A frame from the uplink that has waited for its VM is looked up again, by the worker that has its
  // mapping.
  void look_up_again(std::span<const std::byte> frame);
  // A frame that has waited in vain goes back to the worker of its port, which tells its sender
  // (dataplane/pipeline/unreachable.h). `reason`: why it ends.
  void return_unreachable(const Neighbors::Unreachable& unreachable, dataplane::DropReason reason);

  // Frames that found no buffer, or the worker's ring full.
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  void push(std::span<const std::byte> frame, const dataplane::FrameNote& note, WorkerIndex worker);

  rte_mempool* pool_;
  std::vector<ControlRings>& rings_;
  const std::vector<PortPlan>& ports_;
  const conntrack::ExternalPorts& external_ports_;
  const StatePublisher& states_;
  std::uint64_t dropped_ = 0;
};

}  // namespace vmnat::control
