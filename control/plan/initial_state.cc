// SPDX-License-Identifier: Apache-2.0
#include "control/plan/initial_state.h"

#include <algorithm>
#include <limits>

#include "control/plan/forwards.h"
#include "control/plan/live_settings.h"
#include "control/plan/nat_rules.h"
#include "control/plan/static_nat.h"

namespace vmnat::control {
namespace {

dataplane::Uplink uplink_of(const config::Uplink& config, std::optional<net::Ipv4Addr> probe) {
  dataplane::Uplink uplink;
  uplink.address = config.address.value_or(net::Ipv4Prefix{});
  uplink.gateway = config.gateway.value_or(net::Ipv4Addr{});
  uplink.mtu = config.address ? config.mtu : std::uint16_t{0};
  uplink.probe = probe.value_or(net::Ipv4Addr{});
  return uplink;
}

// What was learned stays, unless the number is nobody's.
void set_network(const config::Network& config, dataplane::Network& network) {
  if (config.name.empty()) network = {};
  network.gateway = config.address;
  network.mac = gateway_mac(config);
  network.has_way_out = config.forward != config::Forward::None;
  network.is_routed = config.forward == config::Forward::Route;
  network.dhcp = config.dhcp.has_value();
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
  port.group = 0;
  port.network = plan.network;
  port.owner = plan.owner;
  port.is_segment = is_segment(plan);
  port.is_host = plan.is_host;
  port.mtu = plan.mtu;
}

// In which group the VM of a port is. Each is numbered by the lowest of its ports, from 1 on; 0 is the group of those
// that nothing is said of.
dataplane::GroupNumber group_of(const config::Config& config, const std::vector<PortPlan>& ports,
                                const PortPlan& port) {
  if (port.is_host) return dataplane::kEveryGroup;
  const PortIndex vm = origin_of(ports, port);
  const std::string& name = ports[vm].config->group;
  if (name.empty())
    return config.networks[port.network].isolated_ports ? static_cast<dataplane::GroupNumber>(vm + 1) : 0;
  const auto lowest = std::ranges::find_if(ports, [&](const PortPlan& other) {
    return other.config != nullptr && other.network == port.network && other.config->group == name;
  });
  return static_cast<dataplane::GroupNumber>(lowest - ports.begin() + 1);
}

void set_groups(const config::Config& config, const std::vector<PortPlan>& ports,
                dataplane::ForwardingState& state) {
  std::vector<unsigned> members(ports.size() + 1);
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (ports[i].config == nullptr && !ports[i].is_host) continue;
    state.ports[i].group = group_of(config, ports, ports[i]);
    if (!ports[i].is_host) ++members[state.ports[i].group];
  }
  for (dataplane::Port& port : state.ports)
    port.is_alone = port.group != 0 && port.group != dataplane::kEveryGroup && members[port.group] == 1;
}

}  // namespace

net::MacAddr gateway_mac(const config::Network& network) {
  return network.mac ? *network.mac : net::mac_made_from(network.name);
}

dataplane::ForwardingState initial_state(const config::Config& config, const std::vector<PortPlan>& ports,
                                         const NetworkWays& ways) {
  dataplane::ForwardingState state;
  state.uplink_count = static_cast<PortIndex>(config::uplink_count(config));
  state.uplinks.resize(state.uplink_count);
  for (std::size_t i = 0; i < state.uplinks.size(); ++i)
    state.uplinks[i] = uplink_of(config::uplink_at(config, i), config::probe_of(config, i));
  state.networks.resize(config.networks.size());
  for (std::size_t i = 0; i < state.networks.size(); ++i) state.networks[i].uplink = way_of(ways, i);
  set_topology(config, ports, state);
  const config::Config written = on_uplinks(config, ways);
  set_forwards(plan_forwards(written), state);
  set_static_nat(plan_static_nat(written), state);
  state.egress_rules = plan_egress_rules(written);
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
  set_groups(config, ports, state);
  set_live(config, state);
}

}  // namespace vmnat::control
