// SPDX-License-Identifier: Apache-2.0
// NUMA: which memory node CPUs and devices are on, as sysfs tells before DPDK runs, and what is put where.
//
// A worker's buffers, tables and rings of its own are on its CPU's node: packet buffers because each receive
// queue takes them from a pool of its worker's node, tables because a page comes from the node of the thread
// that touches it first, or from the one that PreferNode names while control makes them.
//
//   workers 0, 2 on node 0, worker 1 on node 1, 40000 buffers -> 20000 on node 0, 20000 on node 1
//
// A node of -1 is not known: a machine without nodes, a device that has no place (vhost-user, a veth).
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"

namespace vmnat::control {

inline constexpr int kNoNode = -1;

class NumaNodes {
 public:
  NumaNodes() = default;
  explicit NumaNodes(std::map<unsigned, int> node_by_cpu) : node_by_cpu_(std::move(node_by_cpu)) {}
  static NumaNodes read(const std::filesystem::path& sysfs = "/sys");
  [[nodiscard]] int of_cpu(unsigned cpu) const;
  // Of all of them, if they are on one.
  [[nodiscard]] int of_cpus(std::span<const unsigned> cpus) const;

 private:
  std::map<unsigned, int> node_by_cpu_;
};

// `device`: a PCI address or a kernel interface, as in the configuration.
int numa_node_of_device(const std::string& device, const std::filesystem::path& sysfs = "/sys");

struct PoolPlan {
  int node = kNoNode;
  unsigned buffers = 0;
  std::vector<WorkerIndex> workers;
};
struct PoolsPlan {
  std::vector<PoolPlan> pools;      // by node, ascending
  std::vector<unsigned> by_worker;  // index into `pools`
  unsigned of_control = 0;          // index into `pools`
};
// Ordinary pages are DPDK's as one area: nothing can be put anywhere.
enum class Placeable : bool { No, Yes };
PoolsPlan plan_pools(std::span<const int> worker_nodes, int control_node, unsigned buffers,
                     Placeable placeable);
// "packet buffers: 20000 on NUMA node 0 for workers 0, 2; 20000 on NUMA node 1 for worker 1"
std::string to_string(const PoolsPlan& plan);

// While it lives, new pages of this thread come from the node, if it has any. For -1 it does nothing.
class PreferNode {
 public:
  explicit PreferNode(int node);
  ~PreferNode();
  PreferNode(const PreferNode&) = delete;
  PreferNode& operator=(const PreferNode&) = delete;

 private:
  static constexpr unsigned kMostNodes = 1024;  // as many as the kernel may be built for
  bool is_set_ = false;
  int policy_before_ = 0;
  unsigned long nodes_before_[kMostNodes / (8 * sizeof(unsigned long))]{};
};

}  // namespace vmnat::control
