// SPDX-License-Identifier: Apache-2.0
#include "control/devices/numa.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <numaif.h>
#include <optional>
#include <set>

#include "control/config/model.h"
#include "control/system/sysfs.h"

namespace vmnat::control {
namespace {

namespace fs = std::filesystem;

std::string node_text(int node) {
  return node == kNoNode ? "" : fmt::format(" on NUMA node {}", node);
}

}  // namespace

NumaNodes NumaNodes::read(const fs::path& sysfs) {
  std::map<unsigned, int> nodes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(sysfs / "devices/system/node", error)) {
    const std::string name = entry.path().filename();
    const auto node = name.starts_with("node") ? whole_number(name.substr(4)) : std::nullopt;
    if (!node) continue;
    for (const unsigned cpu : cpus_of(first_line(entry.path() / "cpulist")))
      nodes[cpu] = static_cast<int>(*node);
  }
  return NumaNodes(std::move(nodes));
}

int NumaNodes::of_cpu(unsigned cpu) const {
  const auto known = node_by_cpu_.find(cpu);
  return known == node_by_cpu_.end() ? kNoNode : known->second;
}

int NumaNodes::of_cpus(std::span<const unsigned> cpus) const {
  std::set<int> nodes;
  for (const unsigned cpu : cpus) nodes.insert(of_cpu(cpu));
  return nodes.size() == 1 ? *nodes.begin() : kNoNode;
}

int numa_node_of_device(const std::string& device, const fs::path& sysfs) {
  if (device.empty()) return kNoNode;
  fs::path directory;
  switch (config::device_kind(device)) {
    case config::DeviceKind::Pci:
      directory = sysfs / "bus/pci/devices" / config::pci_address(device);
      break;
    case config::DeviceKind::KernelInterface:
      directory = sysfs / "class/net" / device / "device";
      break;
    case config::DeviceKind::Devargs:
      return kNoNode;
  }
  const auto node = whole_number(first_line(directory / "numa_node"));  // "-1": no number of ours
  return node ? static_cast<int>(*node) : kNoNode;
}

PoolsPlan plan_pools(std::span<const int> worker_nodes, int control_node, unsigned buffers,
                     Placeable placeable) {
  const auto node_of = [&](int node) { return placeable == Placeable::Yes ? node : kNoNode; };
  std::set<int> nodes;
  for (const int node : worker_nodes) nodes.insert(node_of(node));
  PoolsPlan plan;
  for (const int node : nodes)
    plan.pools.push_back({.node = node, .buffers = buffers / static_cast<unsigned>(nodes.size())});
  const auto pool_on = [&](int node) {
    return static_cast<unsigned>(std::ranges::find(plan.pools, node, &PoolPlan::node) - plan.pools.begin());
  };
  for (std::size_t worker = 0; worker < worker_nodes.size(); ++worker) {
    plan.by_worker.push_back(pool_on(node_of(worker_nodes[worker])));
    plan.pools[plan.by_worker.back()].workers.push_back(static_cast<WorkerIndex>(worker));
  }
  const unsigned own = pool_on(node_of(control_node));
  plan.of_control = own < plan.pools.size() ? own : 0;
  return plan;
}

std::string to_string(const PoolsPlan& plan) {
  std::vector<std::string> parts;
  for (const PoolPlan& pool : plan.pools)
    parts.push_back(fmt::format("{}{} for worker{} {}", pool.buffers, node_text(pool.node),
                                pool.workers.size() == 1 ? "" : "s", fmt::join(pool.workers, ", ")));
  return fmt::format("packet buffers: {}", fmt::join(parts, "; "));
}

PreferNode::PreferNode(int node) {
  if (node < 0 || node >= static_cast<int>(kMostNodes)) return;
  if (get_mempolicy(&policy_before_, nodes_before_, kMostNodes, nullptr, 0) != 0) return;
  constexpr unsigned kWordBits = 8 * sizeof(unsigned long);
  unsigned long nodes[kMostNodes / kWordBits]{};
  nodes[static_cast<unsigned>(node) / kWordBits] |= 1ul << (static_cast<unsigned>(node) % kWordBits);
  is_set_ = set_mempolicy(MPOL_PREFERRED, nodes, kMostNodes) == 0;
}

PreferNode::~PreferNode() {
  if (is_set_) set_mempolicy(policy_before_, nodes_before_, kMostNodes);
}

}  // namespace vmnat::control
