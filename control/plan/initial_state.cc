// SPDX-License-Identifier: Apache-2.0
#include "control/plan/initial_state.h"

#include <algorithm>
#include <limits>

#include "control/plan/forwards.h"
#include "control/plan/live_settings.h"

namespace vmnat::control {
namespace {

dataplane::Uplink uplink_of(const config::Uplink& config) {
  dataplane::Uplink uplink;
  uplink.address = config.address.value_or(net::Ipv4Prefix{});
  uplink.gateway = config.gateway.value_or(net::Ipv4Addr{});
  uplink.mtu = config.address ? config.mtu : std::uint16_t{0};
  return uplink;
}

// What was learned stays, unless the number is nobody's.
void set_network(const config::Network& config, dataplane::Network& network) {
  if (config.name.empty()) network = {};
  network.gateway = config.address;
  network.mac = gateway_mac(config);
  network.nat = config.forward == config::Forward::Nat;
  network.dhcp = config.dhcp.has_value();
  network.isolated_ports = config.isolated_ports;
  network.mtu = config.mtu;
  network.host.port = dataplane::kUplinkPort;
  network.ports.clear();
}

// A port that has left keeps its network's number: frames of it may be on their way.
void set_port(const PortPlan& plan, dataplane::Port& port) {
  if (!plan.exists) {
    port = {.network = port.network == dataplane::kNoNetwork ? NetworkIndex{0} : port.network};
    return;
  }
  port.network = plan.network;
  port.owner = plan.owner;
  port.is_segment = is_segment(plan);
  port.is_host = plan.is_host;
  port.mtu = plan.mtu;
}

}  // namespace

net::MacAddr gateway_mac(const config::Network& network) {
  return network.mac ? *network.mac : net::mac_made_from(network.name);
}

dataplane::ForwardingState initial_state(const config::Config& config, const std::vector<PortPlan>& ports) {
  dataplane::ForwardingState state;
  state.uplink = uplink_of(config.uplink);
  set_topology(config, ports, state);
  set_forwards(plan_forwards(config), state);
  return state;
}

void set_topology(const config::Config& config, const std::vector<PortPlan>& ports,
                  dataplane::ForwardingState& state) {
  state.networks.resize(config.networks.size());
  state.ports.resize(ports.size());
  state.smallest_mtu = std::numeric_limits<std::uint16_t>::max();
  for (std::size_t i = 0; i < config.networks.size(); ++i) set_network(config.networks[i], state.networks[i]);
  for (std::size_t i = 0; i < ports.size(); ++i) {
    set_port(ports[i], state.ports[i]);
    if (ports[i].is_host) state.networks[ports[i].network].host.port = static_cast<PortIndex>(i);
    if (ports[i].config == nullptr) continue;
    state.networks[ports[i].network].ports.push_back(static_cast<PortIndex>(i));
    state.smallest_mtu = std::min(state.smallest_mtu, ports[i].mtu);
  }
  set_live(config, state);
}

}  // namespace vmnat::control
