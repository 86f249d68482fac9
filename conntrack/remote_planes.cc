// SPDX-License-Identifier: Apache-2.0
// Keeping the planes of the remotes that are overloaded most recently.
#include "conntrack/remote_planes.h"

#include <algorithm>

namespace vmnat::conntrack {

RemotePlanes::Plane* RemotePlanes::find(const Key& key) {
  if (uses_ == 0) return nullptr;  // nothing was ever overloaded
  Plane* set = set_of(key);
  Plane* found = std::find_if(set, set + kWays, [&](const Plane& plane) { return plane.key == key; });
  return found == set + kWays ? nullptr : found;
}

RemotePlanes::Plane& RemotePlanes::find_or_add(const Key& key) {
  Plane* plane = find(key);
  ++uses_;
  if (plane == nullptr) {
    Plane* set = set_of(key);
    plane = std::min_element(set, set + kWays,
                             [](const Plane& a, const Plane& b) { return a.last_use < b.last_use; });
    plane->key = key;
    plane->known.fill(0);
    plane->no_room.fill(0);
  }
  plane->last_use = uses_;
  return *plane;
}

void RemotePlanes::note(const Key& key, net::L4Port port, bool taken) {
  Plane* plane = find(key);
  if (plane == nullptr) return;
  const unsigned block = port.host() / kBlockPorts;
  const std::uint64_t block_bit = std::uint64_t{1} << (block % 64);
  const std::uint64_t port_bit = std::uint64_t{1} << (port.host() % 64);
  if (!plane->knows(block)) return;
  if (taken) {
    plane->taken[block] |= port_bit;
  } else {
    plane->taken[block] &= ~port_bit;
    plane->no_room[block / 64] &= ~block_bit;
  }
}

void RemotePlanes::forget_no_room() {
  if (uses_ == 0) return;  // the planes have no pages yet
  for (unsigned i = 0; i < kSets * kWays; ++i) planes_[i].no_room.fill(0);
}

}  // namespace vmnat::conntrack
