// SPDX-License-Identifier: Apache-2.0
// GatewayPlan: all that the gateway is made from, as the configuration has it, before any device is open.
//
// Pure translation: the gateway itself adds what its devices turn out to be.
#pragma once

#include <vector>

#include "control/plan/device_requests.h"
#include "control/plan/nat_plan.h"
#include "control/plan/ports.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

struct GatewayPlan {
  unsigned worker_count = 1;
  std::vector<PortPlan> ports;          // by PortIndex
  std::vector<DeviceRequest> devices;   // the same
  std::uint16_t longest_packet = 1500;  // the largest MTU of all ports, in bytes of IPv4 packet
  NatPlan nat;
  dataplane::ForwardingState state;  // the first one, with the NAT's part
};

// `config` outlives the plan.
GatewayPlan plan_gateway(const config::Config& config, unsigned worker_count);

}  // namespace vmnat::control
