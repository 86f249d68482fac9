// SPDX-License-Identifier: Apache-2.0
// PacketPools: the packet buffers, half of `dataplane.memory`, in one pool for each NUMA node that has
// workers. The other half is for tables, which live in memory of their own, touched as they fill.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "control/config/model.h"
#include "control/devices/eal.h"
#include "control/devices/numa.h"
#include "control/result.h"

struct rte_mempool;

namespace vmnat::control {

class PacketPools {
 public:
  // `longest_packet`: the largest MTU. A buffer takes a whole frame of it where it can: chains are for jumbo
  // frames of VMs. Ordinary pages take as long to be touched as all else that a start does: meanwhile the pools are there,
  // without a buffer.
  static Result<PacketPools> create(const config::Config& config, std::uint16_t longest_packet,
                                    const EalPlan& eal);

  // Once, before anybody takes a buffer.
  Result<void> await_buffers();

  [[nodiscard]] rte_mempool* of_worker(WorkerIndex worker) const {
    return pools_[plan_.by_worker[worker]].get();
  }
  // Of one pool: buffers in all, and those that hold a frame or lie ready in a receive queue. Any thread; the workers'
  // counts are read while they change.
  struct Use {
    std::string pool;
    unsigned buffers = 0, in_use = 0;
  };
  [[nodiscard]] std::vector<Use> use() const;
  // For frames of control's own.
  [[nodiscard]] rte_mempool* of_control() const { return pools_[plan_.of_control].get(); }
  [[nodiscard]] const PoolsPlan& plan() const { return plan_; }

 private:
  struct Free {
    void operator()(rte_mempool* pool) const;
  };
  using Pool = std::unique_ptr<rte_mempool, Free>;
  static Pool make(unsigned number, const PoolPlan& plan, std::uint16_t room);
  static Pool make_empty(unsigned number, const PoolPlan& plan, std::uint16_t room);
  void begin_to_fill(const std::vector<unsigned>& cpus);

  PoolsPlan plan_;
  std::vector<Pool> pools_;   // as planned
  std::future<int> filling_;  // while it lasts: 0, or DPDK's error
};

}  // namespace vmnat::control
