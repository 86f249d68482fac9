// SPDX-License-Identifier: Apache-2.0
// GatewayPlan: all that the gateway is made from, as the configuration has it, before any device is open; and how
// to come from the plan that runs to that of another configuration.
//
// Pure translation: the gateway itself adds what its devices turn out to be.
#pragma once

#include <vector>

#include "control/plan/device_requests.h"
#include "control/plan/nat_plan.h"
#include "control/plan/numbers.h"
#include "control/plan/ports.h"
#include "control/plan/rule_plan.h"
#include "control/result.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

struct GatewayPlan {
  unsigned worker_count = 1;
  Numbers numbers;
  config::Config config;        // its networks are at their numbers
  NetworkWays ways;             // of the first plan; from there on control/slow_path/uplinks.h has them
  std::vector<PortPlan> ports;  // by PortIndex
  std::vector<DeviceRequest> devices;   // the same
  std::uint16_t longest_packet = 1500;  // the largest MTU of all ports, in bytes of IPv4 packet
  NatPlan nat;                          // of the first plan; from there on LiveNat has it
  RulePlan rules;                       // which the gateway plans, since that takes DPDK's memory
};

GatewayPlan plan_gateway(const config::Config& config, unsigned worker_count);

// The plan for another configuration, where who stays keeps its number. A port stays if its name, its network, its
// device and the port that its VM migrates from are the same. An Error: there are no numbers left.
Result<GatewayPlan> plan_change(const GatewayPlan& running, const config::Config& wanted);

// What is different, by number.
struct TopologyChange {
  std::vector<PortIndex> ports_left, ports_come;
  std::vector<NetworkIndex> networks_left, networks_come;
  std::vector<NetworkIndex> networks_moved;  // the gateway has another address or MAC there
  std::vector<NetworkIndex> networks_shut;   // from now on without a way out
};
TopologyChange difference(const GatewayPlan& running, const GatewayPlan& next);

}  // namespace vmnat::control
