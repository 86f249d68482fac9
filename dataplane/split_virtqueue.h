// SPDX-License-Identifier: Apache-2.0
// SplitVirtqueue: one split virtqueue of a guest (virtio 1.1, 2.6), as the device's side uses it: frames are
// copied out of the guest's memory, or into it.
//
//   available ring    heads of chains, from the guest    | 7 | 3 | 9 |          next_available_ = 3
//   descriptors       buffers, chained                   7: [header, frame]     3: [header] -> [frame]
//   used ring         what is done with                  | 7 | 3 | 9 |          index: made visible for a
//   burst
//
// A burst goes through the ring in stages, as the other CPU has written, or will read, every line of it:
// heads, then descriptors, then frames, each stage prefetching what the next one needs. A chain of one
// descriptor, which is what fast guests send, is copied where it stands; all else is walked, in cold
// functions. The index of the used ring is ours alone, so a plain store publishes it.
//
// Nothing in the guest's memory is trusted. A chain that is longer than the ring, points outside of the
// guest's memory, has no frame, or one of more than 64 KB, becomes an empty frame, which the pipeline drops
// and counts; the guest gets its descriptors back.
//
// Threads: one worker; librte_vhost's, which sets it up, while no worker is at it (vhost_port.h).
#pragma once

#include <rte_mbuf.h>

#include "dataplane/guest_memory.h"
#include "dataplane/virtio.h"

namespace vmnat::dataplane {

class SplitVirtqueue {
 public:
  static constexpr unsigned kMostFrames = 32;  // of a burst

  struct Layout {
    const virtio::Descriptor* descriptors = nullptr;
    const virtio::RingStart* available = nullptr;
    virtio::RingStart* used = nullptr;
    std::uint16_t size = 0;      // descriptors, a power of two
    int call_fd = -1;            // eventfd that interrupts the guest; negative: none
    std::uint64_t features = 0;  // as negotiated
    std::uint16_t next_available = 0;
    std::uint16_t next_used = 0;
  };
  // Features that it can do; a queue with others is librte_vhost's.
  static bool can_drive(std::uint64_t features) {
    return (features & (virtio::kPackedRing | virtio::kIommuPlatform | virtio::kLogAll)) == 0;
  }

  SplitVirtqueue() = default;
  // `memory` outlives it. Rings that are not there yet, or of a size that cannot be, are not open.
  SplitVirtqueue(const Layout& layout, const GuestMemory& memory);

  [[nodiscard]] bool is_open() const { return available_ != nullptr; }
  [[nodiscard]] std::uint16_t next_available() const { return next_available_; }
  [[nodiscard]] std::uint16_t next_used() const { return next_used_; }

  // At most `most` frames that the guest sends, in buffers of the pool. Without buffers they stay where they
  // are.
  std::uint16_t take(rte_mempool* pool, rte_mbuf** frames, std::uint16_t most);
  // How many of the frames, from the first on, the guest has room for: copied. They stay the caller's.
  std::uint16_t put(rte_mbuf* const* frames, std::uint16_t count);

 private:
  struct Piece {
    std::byte* at;  // nullptr: to be walked
    std::uint32_t bytes;
  };
  struct Burst;
  class Chain;
  class Writer;

  [[nodiscard]] const std::uint16_t* heads() const {
    return static_cast<const std::uint16_t*>(static_cast<const void*>(available_ + 1));
  }
  [[nodiscard]] virtio::UsedElement* elements() const {
    return static_cast<virtio::UsedElement*>(static_cast<void*>(used_ + 1));
  }
  [[nodiscard]] std::uint16_t waiting() const;
  [[nodiscard]] std::uint16_t head(unsigned number) const;  // of those waiting
  void look_at_heads(Burst& burst) const;
  void look_at_buffers(Burst& burst, bool is_written) const;
  [[nodiscard]] Piece in_one_piece(std::uint16_t head) const;

  void copy_out(Piece buffer, rte_mbuf* frame) const;
  [[gnu::cold]] bool gather(std::uint16_t head, rte_mempool* pool, rte_mbuf* frame) const;
  void copy_in(const rte_mbuf* frame, std::byte* buffer) const;
  [[gnu::cold]] bool scatter(rte_mbuf* frame, unsigned& done, unsigned available);
  [[gnu::cold]] [[nodiscard]] std::uint64_t capacity(std::uint16_t head) const;

  void give_back(unsigned number, std::uint16_t head, std::uint32_t written);
  void publish(unsigned chains);
  [[nodiscard]] bool wants_call(std::uint16_t used_before) const;
  [[gnu::cold]] void call_guest();

  const virtio::Descriptor* descriptors_ = nullptr;
  const virtio::RingStart* available_ = nullptr;
  virtio::RingStart* used_ = nullptr;
  const GuestMemory* memory_ = nullptr;
  std::uint16_t mask_ = 0;
  std::uint16_t next_available_ = 0;
  std::uint16_t next_used_ = 0;
  std::uint8_t header_length_ = 0;
  bool is_mergeable_ = false;
  bool has_event_index_ = false;
  bool was_called_ = false;  // since it is open
  int call_fd_ = -1;
};

}  // namespace vmnat::dataplane
