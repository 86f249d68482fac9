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

dataplane::Network network_of(const config::Network& config) {
  return {.gateway = config.address,
          .mac = gateway_mac(config),
          .nat = config.forward == config::Forward::Nat,
          .dhcp = config.dhcp.has_value(),
          .isolated_ports = config.isolated_ports,
          .mtu = config.mtu};
}

void add_port(const PortPlan& plan, dataplane::ForwardingState& state) {
  const auto index = static_cast<PortIndex>(state.ports.size());
  state.ports.push_back(
      {.network = plan.network, .owner = plan.owner, .is_segment = is_segment(plan), .mtu = plan.mtu});
  if (plan.config != nullptr) state.networks[plan.network].ports.push_back(index);
}

}  // namespace

net::MacAddr gateway_mac(const config::Network& network) {
  return network.mac ? *network.mac : net::mac_made_from(network.name);
}

dataplane::ForwardingState initial_state(const config::Config& config, const std::vector<PortPlan>& ports) {
  dataplane::ForwardingState state;
  state.uplink = uplink_of(config.uplink);
  state.smallest_mtu = std::numeric_limits<std::uint16_t>::max();
  for (const auto& network : config.networks) {
    state.smallest_mtu = std::min(state.smallest_mtu, network.mtu);
    state.networks.push_back(network_of(network));
  }
  for (const PortPlan& port : ports) add_port(port, state);
  set_live(config, state);
  set_forwards(plan_forwards(config), state);
  return state;
}

}  // namespace vmnat::control
