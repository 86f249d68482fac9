// SPDX-License-Identifier: Apache-2.0
#include "control/plan/gateway_plan.h"

#include <algorithm>

#include "control/plan/initial_state.h"

namespace vmnat::control {

GatewayPlan plan_gateway(const config::Config& config, unsigned worker_count) {
  GatewayPlan plan{.worker_count = worker_count, .ports = plan_ports(config, worker_count)};
  plan.devices = plan_devices(config, plan.ports, worker_count);
  plan.longest_packet = config.uplink.mtu;
  for (const auto& network : config.networks)
    plan.longest_packet = std::max(plan.longest_packet, network.mtu);
  plan.nat = plan_nat(config);
  plan.state = initial_state(config, plan.ports);
  plan.state.external_addresses = plan.nat.external;
  plan.state.policies = std::make_shared<const conntrack::NatPolicies>(plan.nat.policies);
  return plan;
}

}  // namespace vmnat::control
