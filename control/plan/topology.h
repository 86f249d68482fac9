// SPDX-License-Identifier: Apache-2.0
// Topology: the configuration in the dataplane's terms: port numbers, MAC addresses, NAT policies.
//
// Pure translation, no devices: ports are numbered with the uplink as 0 and VM ports in the file's order.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "conntrack/conntrack.h"
#include "control/config/model.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

using dataplane::NetworkIndex;

// A port of the configuration, by PortIndex. [0] is the uplink, whose `config` is null.
struct PortPlan {
  std::string name;
  NetworkIndex network = dataplane::kNoNetwork;
  const config::VmPort* config = nullptr;
  WorkerIndex owner = 0;
};

// A port that leads to many hosts, or to a relay of theirs, rather than to one VM.
inline bool leads_to_many(const config::VmPort& port) {
  return !port.device.empty() || port.relay;
}
inline bool is_segment(const PortPlan& port) {
  return port.config != nullptr && leads_to_many(*port.config);
}

// Queues of a port go round the workers, from its owner on.
inline WorkerIndex polling_worker(const PortPlan& port, unsigned queue, unsigned worker_count) {
  return static_cast<WorkerIndex>((port.owner + queue) % worker_count);
}

// Ports spread over the workers in turn. The uplink belongs to the first worker.
std::vector<PortPlan> plan_ports(const config::Config& config, unsigned worker_count);

// The gateway's MAC on a network: configured, or made from the network's name.
net::MacAddr gateway_mac(const config::Network& network);

// Distinct external addresses, with the ports that may be allocated on each: the uplink's own first, which is
// answered for (ARP, ping) even when no network translates to it, then those of the networks. One that DHCP
// gives is 0.0.0.0 here: rented (conntrack/external_ports.h).
std::vector<conntrack::ExternalAddress> plan_external_addresses(const config::Config& config);

// One policy a network. `address_lists` backs their spans: by network, the indices into `external`.
using AddressLists = std::vector<std::vector<conntrack::ExternalIndex>>;
AddressLists plan_address_lists(const config::Config& config,
                                const std::vector<conntrack::ExternalAddress>& external);
std::vector<conntrack::NatPolicy> plan_policies(const config::Config& config,
                                                const AddressLists& address_lists);

// The port forwards of all networks, one for each external address that they are on. `rented`: what DHCP has
// given the uplink; while that is nothing, forwards on it stand at 0.0.0.0 or, if for another address than
// that, are left out.
struct ForwardPlan {
  net::Endpoint external;
  net::Protocol protocol{};
  net::Endpoint to;
  NetworkIndex network = 0;
  bool is_mapping = true;  // what `to` opens leaves by it; of a forward on several addresses one alone
};
std::vector<ForwardPlan> plan_forwards(const config::Config& config, net::Ipv4Addr rented = {});
// For the workers; those at 0.0.0.0 are left out. Of several forwards to one endpoint the first is its
// mapping.
void set_forwards(const std::vector<ForwardPlan>& forwards, dataplane::ForwardingState& state);

// The network's external addresses, with `rented` in the place of the one that DHCP gives, when it does.
std::vector<net::Ipv4Addr> external_addresses_now(const config::Network& network, net::Ipv4Addr rented);

// What a reload, or the uplink's MTU, may change of the networks of a state.
void set_live(const config::Config& config, dataplane::ForwardingState& state);

// The forwarding state before anything was learned; the uplink's MAC is filled in by who opens it.
dataplane::ForwardingState initial_state(const config::Config& config, const std::vector<PortPlan>& ports);

}  // namespace vmnat::control
