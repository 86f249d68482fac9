// SPDX-License-Identifier: Apache-2.0
// Polling: which worker polls which receive queues, as the published state says it (dataplane/worker/poll_set.h).
//
// A vhost-user port without a guest is in no worker's set: its rings cost nothing. It comes in with the state that
// says that it is up. A set is made anew only when it is another one.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "control/devices/devices.h"
#include "control/plan/ports.h"
#include "dataplane/context/forwarding_state.h"
#include "dataplane/worker/poll_set.h"

namespace vmnat::control {

// One worker's, as control keeps it in mind: the set itself is the worker's own.
struct PollPlan {
  std::vector<dataplane::ReceiveQueue> queues;
  dataplane::Sharers sharers;
  bool operator==(const PollPlan&) const = default;
};

class Polling {
 public:
  using PoolOf = std::function<rte_mempool*(WorkerIndex)>;
  // All of them outlive it.
  Polling(const std::vector<PortPlan>& ports, Devices& devices, unsigned worker_count, PoolOf pool_of)
      : ports_(ports), devices_(devices), pool_of_(std::move(pool_of)), plans_(worker_count) {}

  // Fills in the devices, which ports are spread, and the sets. `next` says which ports are up.
  void fill(dataplane::ForwardingState& next);

 private:
  [[nodiscard]] std::vector<PollPlan> plan(const dataplane::ForwardingState& next) const;
  void add_port(PortIndex port, const dataplane::Port& state, std::vector<PollPlan>& plans) const;

  const std::vector<PortPlan>& ports_;
  Devices& devices_;
  PoolOf pool_of_;
  std::vector<PollPlan> plans_;  // by worker, of the state that was filled in last
};

}  // namespace vmnat::control
