// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/trunk.h"

#include <algorithm>
#include <rte_ethdev.h>
#include <utility>

#include "dataplane/device/vlan.h"
#include "dataplane/frame/burst_size.h"

namespace vmnat::dataplane {

void Trunk::Stash::put(rte_mbuf* frame) {
  if (count == kStashSize) {
    missed.add(1);
    return rte_pktmbuf_free(frame);
  }
  frames[(first + count++) % kStashSize] = frame;
}

std::uint16_t Trunk::Stash::take(rte_mbuf** taken, std::uint16_t most) {
  const auto taking = static_cast<std::uint16_t>(std::min<unsigned>(count, most));
  for (unsigned i = 0; i < taking; ++i) taken[i] = frames[(first + i) % kStashSize];
  first = (first + taking) % kStashSize;
  count -= taking;
  return taking;
}

std::uint16_t Trunk::receive(std::uint16_t vlan, rte_mbuf** frames, std::uint16_t most) {
  const WorkerGate::Pass pass(gate_);
  Stash& own = *stashes_[vlan].load(std::memory_order_acquire);
  if (own.count == 0 && own.bursts_seen == bursts_) sort_burst(own);
  own.bursts_seen = bursts_;
  const std::uint16_t taken = own.take(frames, most);
  if (own.count != 0 && taken >= kBurstSize / 2) is_behind_ = true;
  return taken;
}

void Trunk::sort_burst(Stash& asking) {
  ++bursts_;
  if (std::exchange(is_behind_, false)) return;
  rte_mbuf* burst[kBurstSize];
  const std::uint16_t count = rte_eth_rx_burst(port_id_, 0, burst, kBurstSize);
  for (unsigned i = 0; i < count; ++i) {
    Stash* const stash = stashes_[vlan_of(burst[i]).value_or(kNoVlan)].load(std::memory_order_acquire);
    (stash == nullptr ? asking : *stash).put(burst[i]);
  }
}

}  // namespace vmnat::dataplane
