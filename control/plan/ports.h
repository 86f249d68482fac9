// SPDX-License-Identifier: Apache-2.0
// The ports of the switch, numbered: the uplink's is 0, those of VMs follow in the order of the file; and
// which worker polls which queue of them.
#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "control/config/model.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

using dataplane::NetworkIndex;

// A port of the configuration, by PortIndex. [0] is the uplink, whose `config` is null.
struct PortPlan {
  std::string name;
  NetworkIndex network = dataplane::kNoNetwork;
  const config::VmPort* config = nullptr;
  WorkerIndex owner = 0;     // polls its first queue
  std::uint16_t mtu = 1500;  // as configured
};

// The ports go round the workers. The uplink belongs to the first worker. `config` outlives the plans.
std::vector<PortPlan> plan_ports(const config::Config& config, unsigned worker_count);

// A port that leads to many hosts, or to a relay of theirs, rather than to one VM.
inline bool is_segment(const config::VmPort& port) {
  return port.device.is_given() || port.relay;
}
inline bool is_segment(const PortPlan& port) {
  return port.config != nullptr && is_segment(*port.config);
}

// The queues of a port go round the workers, from its owner on.
inline WorkerIndex polling_worker(const PortPlan& port, unsigned queue, unsigned worker_count) {
  return static_cast<WorkerIndex>((port.owner + queue) % worker_count);
}

}  // namespace vmnat::control
