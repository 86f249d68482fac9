// SPDX-License-Identifier: Apache-2.0
// What control does with a trunk: members come and go.
#include "dataplane/device/trunk.h"

namespace vmnat::dataplane {

Trunk::Stash::~Stash() {
  rte_mbuf* frame = nullptr;
  while (take(&frame, 1) != 0) rte_pktmbuf_free(frame);
}

// Pairs with the worker's acquire loads: the stash is there before it is seen.
void Trunk::join(std::uint16_t vlan) {
  auto& stash = members_[vlan];
  stash = std::make_unique<Stash>();
  stashes_[vlan].store(stash.get(), std::memory_order_release);
}

void Trunk::forget(std::uint16_t vlan) {
  members_.erase(vlan);
}

}  // namespace vmnat::dataplane
