// SPDX-License-Identifier: Apache-2.0
// DPDK's environment (EAL): which memory and which CPUs it gets, and its start.
//
// Lcore 0 is the control thread, lcores 1.. are the workers in the configuration's order, each on its CPU.
// Memory comes from hugepages when enough are free, else from ordinary pages: slower, but without
// privileges. It is never shared with another process: nothing is left behind in the file system,
// and any number of vmnatd can run beside each other.
#pragma once

#include <string>
#include <vector>

#include "control/config/model.h"
#include "control/devices/numa.h"
#include "control/result.h"

namespace vmnat::control {

// What the machine offers; a parameter so that plans can be tested.
struct Machine {
  std::vector<unsigned> cpus;  // that this process may run on, ascending
  std::uint64_t free_hugepage_bytes = 0;
  bool has_transparent_hugepages = true;
  NumaNodes numa{};
  int uplink_node = kNoNode;
};
Machine this_machine(const config::Config& config);

struct EalPlan {
  std::vector<unsigned> worker_cpus;
  std::vector<int> worker_nodes;  // NUMA
  int control_node = kNoNode;     // kNoNode also when its CPUs are on several
  bool uses_hugepages = false;
  std::vector<std::string> arguments;  // argv[0] included
  std::vector<std::string> notes;      // what it does without, for the log
};
Result<EalPlan> plan_eal(const config::Config& config, const Machine& machine);

// Starts the EAL on the calling thread, which becomes lcore 0. Once per process.
Result<void> start_eal(const EalPlan& plan);

}  // namespace vmnat::control
