// SPDX-License-Identifier: Apache-2.0
#include "control/plan/ports.h"

namespace vmnat::control {

std::vector<PortPlan> plan_ports(const config::Config& config, unsigned worker_count) {
  std::vector<PortPlan> ports{{.name = "uplink", .mtu = config.uplink.mtu}};
  for (std::size_t i = 0; i < config.networks.size(); ++i)
    for (const auto& port : config.networks[i].ports)
      ports.push_back({.name = port.name,
                       .network = static_cast<NetworkIndex>(i),
                       .config = &port,
                       .owner = static_cast<WorkerIndex>(ports.size() % worker_count),
                       .mtu = config.networks[i].mtu});
  return ports;
}

}  // namespace vmnat::control
