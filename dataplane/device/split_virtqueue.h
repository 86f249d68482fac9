// SPDX-License-Identifier: Apache-2.0
// SplitVirtqueue: one split virtqueue of a guest (virtio 1.1, 2.6), as the device's side uses it: frames are
// copied out of the guest's memory, or into it.
//
//   available ring    heads of chains, from the guest    | 7 | 3 | 9 |          next_available_ = 3
//   descriptors       buffers, chained                   7: [header, frame]     3: [header] -> [frame]
//   used ring         chains given back to the guest     | 7 | 3 | 9 |          index: one store a burst
//
// A burst goes through the ring in stages, because the other CPU has written, or will read, every line of it:
// heads, then descriptors, then frames. Each stage prefetches what the next one needs. A chain of one
// descriptor, which is what fast guests send, is copied in one piece; all other chains are walked, in cold
// functions. Only this side writes the index of the used ring, so a plain store publishes it.
//
// Nothing in the guest's memory is trusted. A chain that is longer than the ring, points outside of the
// guest's memory, or holds no frame or one of more than 64 KB, becomes an empty frame, which the pipeline
// drops and counts; the guest gets its descriptors back.
//
// The work of a call is bounded. A guest can make chains of several descriptors long: of 1024 chains of 1024
// descriptors each, all without a byte, a call reads 512 descriptors and leaves the rest in the ring.
// Legitimate chains fit: 11 super-frames of 64 KB in buffers of 1.5 KB, and put() may read as many more as
// the frames' bytes need. A call that ends at a budget is counted (Layout::deferrals).
//
// Threads: one worker; librte_vhost's, which sets it up, while no worker is at it (vhost_port.h).
#pragma once

#include <rte_mbuf.h>

#include "base/counter.h"
#include "dataplane/device/guest_memory.h"
#include "dataplane/device/transmission.h"
#include "dataplane/device/virtio.h"

namespace vmnat::dataplane {

class SplitVirtqueue {
 public:
  static constexpr unsigned kMostFrames = Transmission::kMostFrames;  // of a burst

  // Budgets of one call of take() or put().
  static constexpr unsigned kLongestChain = 256;             // descriptors, as in librte_vhost
  static constexpr unsigned kDescriptorsPerCall = 512;       // of chains that are walked,
  static constexpr unsigned kDescriptorsPerFrame = 2;        // and for each frame to be put so many more,
  static constexpr unsigned kBytesPerDescriptor = 256;       // and one for each of so many bytes of it
  static constexpr std::uint32_t kBytesPerCall = 128 << 10;  // of walked chains: take() walks no more then
  static_assert(kDescriptorsPerCall > kLongestChain + 1, "each call gets over the first chain");

  struct Layout {
    const virtio::Descriptor* descriptors = nullptr;
    const virtio::RingStart* available = nullptr;
    virtio::RingStart* used = nullptr;
    std::uint16_t size = 0;      // descriptors, a power of two
    int call_fd = -1;            // eventfd that interrupts the guest; negative: none
    int kick_fd = -1;            // eventfd by which the guest says that it has sent; negative: none
    std::uint64_t features = 0;  // as negotiated
    std::uint16_t next_available = 0;
    std::uint16_t next_used = 0;
    Counter* deferrals = nullptr;   // calls that a budget ended with chains left; nullptr: not counted
    Counter* interrupts = nullptr;  // of the guest; the same
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
  // Copies the frames that the guest has room for, of kMostFrames at most. They stay the caller's. One that
  // is too long does not keep back those behind it.
  Transmission put(rte_mbuf* const* frames, std::uint16_t count);

  // While the worker sleeps the guest is to kick when it has sent something, at other times not. After asking,
  // and a full fence, the worker looks once more: the guest may not have seen yet that it was asked.
  [[gnu::cold]] void ask_for_kick();
  [[gnu::cold]] void refuse_kicks();
  [[nodiscard]] int kick_fd() const { return kick_fd_; }
  // Chains are there to be taken.
  [[nodiscard]] bool has_waiting() const { return is_open() && waiting() != 0; }

  // Of walked chains, since it is open; for tests of the bounds.
  [[nodiscard]] std::uint64_t descriptors_walked() const { return descriptors_walked_; }

 private:
  struct Piece {
    std::byte* at;  // nullptr: to be walked
    std::uint32_t bytes;
  };
  struct Burst;
  struct Work;
  struct Walk;
  enum class Fit : std::uint8_t { Written, TooLong, Full };
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
  [[gnu::cold]] bool gather(std::uint16_t head, rte_mempool* pool, rte_mbuf* frame, Work& work);
  void copy_in(const rte_mbuf* frame, std::byte* buffer) const;
  [[gnu::cold]] Fit scatter(rte_mbuf* frame, Walk& walk);
  void give_back_unused(Walk& walk, unsigned chains);
  void defer() {
    if (deferrals_ != nullptr) deferrals_->add(1);
  }

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
  Counter* deferrals_ = nullptr;
  std::uint64_t descriptors_walked_ = 0;
  int kick_fd_ = -1;
  Counter* interrupts_ = nullptr;
};

}  // namespace vmnat::dataplane
