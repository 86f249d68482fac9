// SPDX-License-Identifier: Apache-2.0
// The ports of the switch by their numbers, of which uplinks have the first ones; and which worker polls which queue
// of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "control/config/model.h"
#include "control/plan/numbers.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

// By PortIndex, uplinks first. `config` is a VM port's, and null of uplinks and of the host's ports.
struct PortPlan {
  std::string name;  // of one that has left, too, until another one has the number
  NetworkIndex network = dataplane::kNoNetwork;
  std::shared_ptr<const config::VmPort> config = nullptr;
  WorkerIndex owner = 0;     // polls its first queue
  std::uint16_t mtu = 1500;  // as configured
  bool exists = true;        // false: the number is nobody's
  bool is_host = false;      // this machine's, on the network
  bool is_uplink = false;
};

// The numbers of a start: uplinks, ports and networks in the order of the file, then the host's ports. At most
// kMostPorts and kMostNetworks.
Numbers first_numbers(const config::Config& config);

// The configuration with its networks at their numbers. A number that is nobody's has a network without a name,
// ports and a way out, of the address 0.0.0.0 alone.
config::Config at_numbers(const config::Config& config, const NumberBook<NetworkIndex>& numbers);

// The ports go round the workers by their numbers. The first uplink belongs to the first worker. `config` has its
// networks at their numbers.
std::vector<PortPlan> plan_ports(const config::Config& config, unsigned worker_count,
                                 const NumberBook<PortIndex>& numbers);
// Those of a start.
std::vector<PortPlan> plan_ports(const config::Config& config, unsigned worker_count);

// Ports whose worker follows from others': that of a port that a VM migrates to is its origin's; those on a trunk
// (dataplane/device/trunk.h) have one, which is an uplink's, if one is there, or follows from the device's name, so that
// it stays whoever comes and goes. As for plan_ports().
void unite_owners(const config::Config& config, unsigned worker_count, std::vector<PortPlan>& ports);

// Whether several uplinks and ports are on that device, which DPDK drives.
bool is_shared(const config::Config& config, const config::NamedDevice& device);

// The port whose VM it may have (`migrates_from`): itself, where none is named. It exists.
PortIndex origin_of(const std::vector<PortPlan>& ports, const PortPlan& port);

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
