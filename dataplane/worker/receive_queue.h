// SPDX-License-Identifier: Apache-2.0
// ReceiveQueue: one receive queue of a port; PolledQueue: the same as the worker that polls it knows it.
#pragma once

#include <algorithm>
#include <span>

#include "base/ids.h"
#include "dataplane/device/burst_port.h"
#include "dataplane/worker/fair_share.h"

namespace vmnat::dataplane {

struct ReceiveQueue {
  BurstPort device;
  std::uint16_t queue_id = 0;
  PortIndex port = 0;
  rte_mempool* pool = nullptr;  // for what DPDK does not receive

  bool operator==(const ReceiveQueue&) const = default;
  // Ports, then queues: in which order they stand in lists.
  [[nodiscard]] std::uint32_t rank() const { return std::uint32_t{port} << 16 | queue_id; }
};

struct PolledQueue {
  // The descriptor that tells a sleeping worker of frames (wake_set.h).
  struct Source {
    std::uint32_t generation = 0;
    int descriptor = -1;
  };
  ReceiveQueue queue;
  FairShare share{};
  Source source{};
  std::uint16_t quiet_polls = 0;  // in a row
  bool is_held = false;           // by a limit: frames may be waiting
  bool is_limited = false;        // the port, in what it sends

  [[nodiscard]] std::uint32_t rank() const { return queue.rank(); }
};

static_assert(sizeof(PolledQueue) <= 64);  // a look at an idle one reads no more

// The same queue of the same device in another list; nullptr: it is not there.
inline PolledQueue* find_same(std::span<PolledQueue> queues, const PolledQueue& wanted) {
  const auto at = std::ranges::lower_bound(queues, wanted.rank(), {}, &PolledQueue::rank);
  return at != queues.end() && at->rank() == wanted.rank() && at->queue.device == wanted.queue.device
             ? &*at
             : nullptr;
}

}  // namespace vmnat::dataplane
