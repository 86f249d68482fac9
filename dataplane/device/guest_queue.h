// SPDX-License-Identifier: Apache-2.0
// GuestQueue: a guest's virtqueue of either format, which is chosen when the ring is opened and asked once a burst.
#pragma once

#include "dataplane/device/packed_virtqueue.h"
#include "dataplane/device/split_virtqueue.h"

namespace vmnat::dataplane {

class GuestQueue {
 public:
  // Features that it can do; a queue with others is librte_vhost's.
  static bool can_drive(std::uint64_t features) {
    return (features & (virtio::kIommuPlatform | virtio::kLogAll)) == 0;
  }

  GuestQueue() = default;
  // By the layout's features; memory as of Virtqueue.
  GuestQueue(const VirtqueueLayout& layout, const GuestMemory& memory)
      : is_packed_((layout.features & virtio::kPackedRing) != 0) {
    if (is_packed_)
      packed_ = PackedVirtqueue(layout, memory);
    else
      split_ = SplitVirtqueue(layout, memory);
  }

  std::uint16_t take(rte_mempool* pool, rte_mbuf** frames, std::uint16_t most) {
    return is_packed_ ? packed_.take(pool, frames, most) : split_.take(pool, frames, most);
  }
  Transmission put(rte_mbuf* const* frames, std::uint16_t count) {
    return is_packed_ ? packed_.put(frames, count) : split_.put(frames, count);
  }

  // As of Virtqueue.
  [[nodiscard]] bool is_open() const { return is_packed_ ? packed_.is_open() : split_.is_open(); }
  [[nodiscard]] std::uint16_t next_available() const {
    return is_packed_ ? packed_.next_available() : split_.next_available();
  }
  [[nodiscard]] std::uint16_t next_used() const {
    return is_packed_ ? packed_.next_used() : split_.next_used();
  }
  [[nodiscard]] bool has_waiting() const { return is_packed_ ? packed_.has_waiting() : split_.has_waiting(); }
  [[nodiscard]] int kick_fd() const { return is_packed_ ? packed_.kick_fd() : split_.kick_fd(); }
  [[nodiscard]] std::uint64_t descriptors_walked() const {
    return is_packed_ ? packed_.descriptors_walked() : split_.descriptors_walked();
  }
  [[gnu::cold]] void ask_for_kick() { is_packed_ ? packed_.ask_for_kick() : split_.ask_for_kick(); }
  [[gnu::cold]] void refuse_kicks() { is_packed_ ? packed_.refuse_kicks() : split_.refuse_kicks(); }

 private:
  bool is_packed_ = false;
  SplitVirtqueue split_;
  PackedVirtqueue packed_;
};

}  // namespace vmnat::dataplane
