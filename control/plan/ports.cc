// SPDX-License-Identifier: Apache-2.0
#include "control/plan/ports.h"

#include <algorithm>
#include <functional>
#include <map>

namespace vmnat::control {
namespace {

config::Network nobodys_network() {
  return {.address = {net::Ipv4Addr{}, 32}, .forward = config::Forward::None};
}

// What DPDK calls the device that the uplink or port is a VLAN of; empty: none.
template <typename Port>
std::string trunk_of(const Port& port) {
  return config::vlan_of(port) ? config::shareable_name(port.device.name) : std::string{};
}

}  // namespace

Numbers first_numbers(const config::Config& config) {
  Numbers numbers;
  for (std::size_t i = 0; i < config::uplink_count(config); ++i)
    numbers.ports.give(config::uplink_name(config, i));
  for (const config::Network& network : config.networks) {
    numbers.networks.give(network.name);
    for (const config::VmPort& port : network.ports) numbers.ports.give(port.name);
  }
  for (const config::Network& network : config.networks)
    if (network.host) numbers.ports.give(network.host->interface);
  return numbers;
}

config::Config at_numbers(const config::Config& config, const NumberBook<NetworkIndex>& numbers) {
  config::Config numbered = config;
  numbered.networks.assign(numbers.bound(), nobodys_network());
  for (const config::Network& network : config.networks)
    numbered.networks[*numbers.of(network.name)] = network;
  return numbered;
}

std::vector<PortPlan> plan_ports(const config::Config& config, unsigned worker_count,
                                 const NumberBook<PortIndex>& numbers) {
  std::vector<PortPlan> ports(numbers.bound(), PortPlan{.exists = false});
  for (std::size_t i = 0; i < ports.size(); ++i) ports[i].owner = static_cast<WorkerIndex>(i % worker_count);
  for (std::size_t i = 0; i < config::uplink_count(config); ++i)
    ports[i] = {.name = config::uplink_name(config, i),
                .owner = ports[i].owner,
                .mtu = config::uplink_at(config, i).mtu,
                .is_uplink = true};
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const config::Network& network = config.networks[i];
    const auto put = [&](const std::string& name, std::shared_ptr<const config::VmPort> port, bool is_host) {
      PortPlan& plan = ports[*numbers.of(name)];
      plan = {.name = name,
              .network = static_cast<NetworkIndex>(i),
              .config = std::move(port),
              .owner = plan.owner,
              .mtu = network.mtu,
              .is_host = is_host};
    };
    for (const config::VmPort& port : network.ports)
      put(port.name, std::make_shared<const config::VmPort>(port), false);
    if (network.host) put(network.host->interface, nullptr, true);
  }
  unite_owners(config, worker_count, ports);
  return ports;
}

void unite_owners(const config::Config& config, unsigned worker_count, std::vector<PortPlan>& ports) {
  // A worker's sessions of a VM go on when the VM comes by another port.
  for (PortPlan& port : ports)
    if (port.config != nullptr && !port.config->migrates_from.empty())
      port.owner = ports[origin_of(ports, port)].owner;
  std::map<std::string, WorkerIndex> owners;
  for (std::size_t i = 0; i < config::uplink_count(config); ++i)
    if (const std::string trunk = trunk_of(config::uplink_at(config, i)); !trunk.empty())
      ports[i].owner = owners.try_emplace(trunk, ports[i].owner).first->second;
  for (PortPlan& port : ports) {
    if (port.config == nullptr || port.config->queues > 1) continue;
    const std::string trunk = trunk_of(*port.config);
    if (trunk.empty()) continue;
    const auto by_name = static_cast<WorkerIndex>(std::hash<std::string>{}(trunk) % worker_count);
    port.owner = owners.try_emplace(trunk, by_name).first->second;
  }
}

bool is_shared(const config::Config& config, const config::NamedDevice& device) {
  const std::string name = config::shareable_name(device.name);
  if (name.empty()) return false;
  std::size_t ports = 0;
  const auto count = [&](const config::NamedDevice& other) {
    if (config::shareable_name(other.name) == name) ++ports;
  };
  for (std::size_t i = 0; i < config::uplink_count(config); ++i) count(config::uplink_at(config, i).device);
  for (const config::Network& network : config.networks)
    for (const config::VmPort& port : network.ports) count(port.device);
  return ports > 1;
}

std::vector<PortPlan> plan_ports(const config::Config& config, unsigned worker_count) {
  return plan_ports(config, worker_count, first_numbers(config).ports);
}

PortIndex origin_of(const std::vector<PortPlan>& ports, const PortPlan& port) {
  if (port.config == nullptr || port.config->migrates_from.empty())
    return static_cast<PortIndex>(&port - ports.data());  // it is one of them
  const auto origin = std::ranges::find_if(
      ports, [&](const PortPlan& other) { return other.exists && other.name == port.config->migrates_from; });
  return static_cast<PortIndex>(origin - ports.begin());
}

}  // namespace vmnat::control
