// SPDX-License-Identifier: Apache-2.0
// ReceiveQueue: one receive queue of a port, as the worker that polls it knows it.
#pragma once

#include "base/ids.h"
#include "dataplane/device/burst_port.h"

namespace vmnat::dataplane {

struct ReceiveQueue {
  BurstPort device;
  std::uint16_t queue_id = 0;
  PortIndex port = 0;
  rte_mempool* pool = nullptr;  // for what DPDK does not receive
};

}  // namespace vmnat::dataplane
