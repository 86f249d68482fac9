// SPDX-License-Identifier: Apache-2.0
#include "control/plan/gateway_plan.h"

#include <algorithm>
#include <fmt/format.h>

#include "control/plan/initial_state.h"

namespace vmnat::control {
namespace {

void plan_by_numbers(const config::Config& config, GatewayPlan& plan) {
  plan.config = at_numbers(config, plan.numbers.networks);
  plan.ports = plan_ports(plan.config, plan.worker_count, plan.numbers.ports);
  plan.devices = plan_devices(plan.config, plan.ports, plan.worker_count);
}

const config::Network* network_named(const config::Config& config, const std::string& name) {
  const auto found = std::ranges::find(config.networks, name, &config::Network::name);
  return found == config.networks.end() ? nullptr : &*found;
}

// A port that a VM may migrate to does not stay without the VM's other port: both are one worker's.
bool keeps_port(const GatewayPlan& running, std::size_t number, const config::Config& wanted) {
  const PortPlan& port = running.ports[number];
  const auto* const network = network_named(wanted, running.config.networks[port.network].name);
  if (network == nullptr) return false;
  const auto now = std::ranges::find(network->ports, port.name, &config::VmPort::name);
  // Of the section vhost_user nothing changes without a restart.
  const DeviceRequest& device = running.devices[number];
  if (now == network->ports.end() || now->migrates_from != port.config->migrates_from ||
      !is_same_device(device, device_request_of(*now, network->mtu, device.sockets)))
    return false;
  const PortIndex origin = origin_of(running.ports, port);
  return origin == number || keeps_port(running, origin, wanted);
}

bool keeps_host(const GatewayPlan& running, std::size_t number, const config::Config& wanted) {
  const auto* const network =
      network_named(wanted, running.config.networks[running.ports[number].network].name);
  return network != nullptr && network->host &&
         is_same_device(running.devices[number], host_request_of(*network));
}

void retire_who_leaves(const GatewayPlan& running, const config::Config& wanted, Numbers& numbers) {
  for (std::size_t i = 0; i < running.ports.size(); ++i) {
    const PortPlan& port = running.ports[i];
    if (port.config == nullptr && !port.is_host) continue;
    const bool stays = port.is_host ? keeps_host(running, i, wanted) : keeps_port(running, i, wanted);
    if (!stays) numbers.ports.retire(port.name);
  }
  for (const config::Network& network : running.config.networks)
    if (network_named(wanted, network.name) == nullptr) numbers.networks.retire(network.name);
}

Result<void> number_ports_that_come(const config::Network& network, Numbers& numbers) {
  std::vector<std::string> names;
  for (const config::VmPort& port : network.ports) names.push_back(port.name);
  if (network.host) names.push_back(network.host->interface);
  for (const std::string& name : names)
    if (!numbers.ports.give(name))
      return tl::unexpected(Error{
          "networks",
          fmt::format("port {}: {} ports are in use, or were until some seconds ago", name, kMostPorts - 1)});
  return {};
}

Result<void> number_who_comes(const config::Config& wanted, Numbers& numbers) {
  for (const config::Network& network : wanted.networks) {
    if (!numbers.networks.give(network.name))
      return tl::unexpected(
          Error{"networks", fmt::format("network {}: {} networks are in use, or were until some seconds ago",
                                        network.name, kMostNetworks)});
    if (auto numbered = number_ports_that_come(network, numbers); !numbered) return numbered;
  }
  return {};
}

void compare_networks(const GatewayPlan& running, const GatewayPlan& next, TopologyChange& change) {
  for (std::size_t i = 0; i < next.config.networks.size(); ++i) {
    const auto number = static_cast<NetworkIndex>(i);
    const config::Network before =
        i < running.config.networks.size() ? running.config.networks[i] : config::Network{};
    const config::Network& after = next.config.networks[i];
    if (before.name != after.name) {
      if (!before.name.empty()) change.networks_left.push_back(number);
      if (!after.name.empty()) change.networks_come.push_back(number);
    } else if (!after.name.empty()) {
      if (before.address != after.address || gateway_mac(before) != gateway_mac(after))
        change.networks_moved.push_back(number);
      if (before.forward != config::Forward::None && after.forward == config::Forward::None)
        change.networks_shut.push_back(number);
    }
  }
}

}  // namespace

GatewayPlan plan_gateway(const config::Config& config, unsigned worker_count) {
  GatewayPlan plan{.worker_count = worker_count, .numbers = first_numbers(config), .longest_packet = 0};
  plan_by_numbers(config, plan);
  for (std::size_t i = 0; i < config::uplink_count(config); ++i)
    plan.longest_packet = std::max(plan.longest_packet, config::uplink_at(config, i).mtu);
  for (const auto& network : config.networks)
    plan.longest_packet = std::max(plan.longest_packet, network.mtu);
  plan.ways = preferred_ways(plan.config);
  plan.nat = plan_nat(plan.config, nullptr, plan.ways);
  return plan;
}

Result<GatewayPlan> plan_change(const GatewayPlan& running, const config::Config& wanted) {
  GatewayPlan plan{.worker_count = running.worker_count,
                   .numbers = running.numbers,
                   .longest_packet = running.longest_packet};
  retire_who_leaves(running, wanted, plan.numbers);
  if (auto numbered = number_who_comes(wanted, plan.numbers); !numbered)
    return tl::unexpected(numbered.error());
  plan_by_numbers(wanted, plan);
  for (std::size_t i = 0; i < running.ports.size(); ++i)
    if (!plan.ports[i].exists) plan.ports[i].name = running.ports[i].name;
  return plan;
}

// A number that was somebody's is given to nobody else in the same change.
TopologyChange difference(const GatewayPlan& running, const GatewayPlan& next) {
  TopologyChange change;
  for (std::size_t i = 0; i < next.ports.size(); ++i) {
    const bool was_there = i < running.ports.size() && running.ports[i].exists;
    if (was_there && !next.ports[i].exists) change.ports_left.push_back(static_cast<PortIndex>(i));
    if (!was_there && next.ports[i].exists) change.ports_come.push_back(static_cast<PortIndex>(i));
  }
  compare_networks(running, next, change);
  return change;
}

}  // namespace vmnat::control
