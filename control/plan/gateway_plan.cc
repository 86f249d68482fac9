// SPDX-License-Identifier: Apache-2.0
#include "control/plan/gateway_plan.h"

#include <algorithm>

#include "control/plan/initial_state.h"
#include "control/plan/policies.h"

namespace vmnat::control {

GatewayPlan plan_gateway(const config::Config& config, unsigned worker_count) {
  GatewayPlan plan{.worker_count = worker_count, .ports = plan_ports(config, worker_count)};
  plan.devices = plan_devices(config, plan.ports, worker_count);
  plan.longest_packet = config.uplink.mtu;
  for (const auto& network : config.networks)
    plan.longest_packet = std::max(plan.longest_packet, network.mtu);
  plan.external_addresses = plan_external_addresses(config);
  plan.address_lists = plan_address_lists(config, plan.external_addresses);
  plan.state = initial_state(config, plan.ports);
  plan.state.policies =
      std::make_shared<const conntrack::NatPolicies>(plan_policies(config, plan.address_lists));
  return plan;
}

}  // namespace vmnat::control
