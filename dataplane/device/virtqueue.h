// SPDX-License-Identifier: Apache-2.0
// Virtqueue: one virtqueue of a guest as the device's side uses it: frames are copied out of the guest's memory, or
// into it. How chains of buffers are found in the ring, and given back, is its format's: SplitRing (split_virtqueue.h)
// or PackedRing (packed_virtqueue.h), a template's argument.
//
//   take():  look at up to 64 chains -> copy each into an mbuf          -> publish them
//   put():   the same                -> copy each mbuf into the buffers -> publish those that were filled
//
// A burst goes through the ring in stages, because the other CPU has written, or will read, every line of it: heads of
// chains, then descriptors, then frames. Each stage prefetches what the next one needs. A chain of one descriptor,
// which is what fast guests send, is copied in one piece; all other chains are walked, in cold functions.
//
// Nothing in the guest's memory is trusted. A chain that is longer than the ring, points outside of the guest's
// memory, or holds no frame or one of more than 64 KB, becomes an empty frame, which the pipeline drops and counts; the
// guest gets its descriptors back.
//
// The work of a call is bounded. A guest can make chains of several descriptors long: of 1024 chains of 1024
// descriptors each, all without a byte, a call reads 512 descriptors and leaves the rest in the ring. Legitimate chains
// fit: 11 super-frames of 64 KB in buffers of 1.5 KB, and put() may read as many more as the frames' bytes need. A call
// that ends at a budget is counted (VirtqueueLayout::deferrals).
//
// What a ring's format has:
//
//   Place, Head, Given   where a chain starts; a chain that is there; those that a call gives back
//   Steps                the descriptors of a chain, one after another
//   begin_call()         once before read_head() and holds()
//   look()               the next chains, as many as are there; they are begun with in this call
//   read_head()          the chain at a place; false when there is none (yet)
//   note(), publish()    a chain is to be given back; all that were noted are, and the ring goes on behind them
//
// Threads: one worker; librte_vhost's, which sets it up, while no worker is at it (vhost_port.h).
#pragma once

#include <rte_mbuf.h>

#include "base/counter.h"
#include "dataplane/device/guest_memory.h"
#include "dataplane/device/transmission.h"
#include "dataplane/device/virtio.h"

namespace vmnat::dataplane {

// Budgets of one call of take() or put().
struct VirtqueueBudget {
  static constexpr unsigned kMostFrames = Transmission::kMostFrames;  // of a burst
  static constexpr unsigned kLongestChain = 256;                      // descriptors, as in librte_vhost
  static constexpr unsigned kDescriptorsPerCall = 512;                // of chains that are walked,
  static constexpr unsigned kDescriptorsPerFrame = 2;        // and for each frame to be put so many more,
  static constexpr unsigned kBytesPerDescriptor = 256;       // and one for each of so many bytes of it
  static constexpr std::uint32_t kBytesPerCall = 128 << 10;  // of walked chains: take() walks no more then
  static_assert(kDescriptorsPerCall > kLongestChain + 1, "each call gets over the first chain");
};

struct VirtqueueLayout {
  void* descriptors = nullptr;
  const void* available =
      nullptr;                 // the ring, or in a packed one the event suppression, that the guest writes
  void* used = nullptr;        // and that the device writes
  std::uint16_t size = 0;      // descriptors; a power of two in a split ring
  int call_fd = -1;            // eventfd that interrupts the guest; negative: none
  int kick_fd = -1;            // eventfd by which the guest says that it has sent; negative: none
  std::uint64_t features = 0;  // as negotiated
  std::uint16_t next_available = 0;
  std::uint16_t next_used = 0;    // in a packed ring the same, both with the lap in the highest bit
  Counter* deferrals = nullptr;   // calls that a budget ended with chains left; nullptr: not counted
  Counter* interrupts = nullptr;  // of the guest; the same
};

template <typename Ring>
class Virtqueue : public VirtqueueBudget {
 public:
  Virtqueue() = default;
  // `memory` outlives it. Rings that are not there yet, or of a size that cannot be, are not open.
  Virtqueue(const VirtqueueLayout& layout, const GuestMemory& memory);

  [[nodiscard]] bool is_open() const { return ring_.is_open(); }
  // As in the layout.
  [[nodiscard]] std::uint16_t next_available() const { return ring_.next_available(); }
  [[nodiscard]] std::uint16_t next_used() const { return ring_.next_used(); }

  // At most `most` frames that the guest sends, in buffers of the pool. Without buffers they stay where they
  // are.
  std::uint16_t take(rte_mempool* pool, rte_mbuf** frames, std::uint16_t most);
  // Copies the frames that the guest has room for, of kMostFrames at most. They stay the caller's. One that
  // is too long does not keep back those behind it.
  Transmission put(rte_mbuf* const* frames, std::uint16_t count);

  // While the worker sleeps the guest is to kick when it has sent something, at other times not. After asking,
  // and a full fence, the worker looks once more: the guest may not have seen yet that it was asked.
  [[gnu::cold]] void ask_for_kick() {
    if (is_open()) ring_.ask_for_kick();
  }
  [[gnu::cold]] void refuse_kicks() {
    if (is_open()) ring_.refuse_kicks();
  }
  [[nodiscard]] int kick_fd() const { return kick_fd_; }
  // Chains are there to be taken.
  [[nodiscard]] bool has_waiting() const { return is_open() && ring_.has_waiting(); }

  // Of walked chains, since it is open; for tests of the bounds.
  [[nodiscard]] std::uint64_t descriptors_walked() const { return descriptors_walked_; }

 private:
  using Head = typename Ring::Head;
  using Place = typename Ring::Place;
  using Given = typename Ring::Given;
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

  template <int is_written>
  [[gnu::always_inline]] inline void look_at_buffers(Burst& burst) const;
  [[nodiscard]] [[gnu::always_inline]] inline Piece in_one_piece(const GuestMemory& memory,
                                                                 const Head& head) const;

  [[gnu::always_inline]] inline void copy_out(Piece buffer, rte_mbuf* frame) const;
  [[gnu::cold]] static void mark_by_header(const std::byte* at, rte_mbuf* frame);
  [[gnu::cold]] bool gather(const Head& head, rte_mempool* pool, rte_mbuf* frame, Work& work);
  void copy_in(const rte_mbuf* frame, std::byte* buffer) const;
  [[gnu::cold]] Fit scatter(rte_mbuf* frame, Walk& walk);
  [[nodiscard]] bool is_over(const Walk& walk) const {
    return walk.descriptors == 0 || !ring_.holds(walk.place);
  }
  void find_place(Walk& walk) const;
  void give_back_unused(Walk& walk, unsigned chains);
  void defer() {
    if (deferrals_ != nullptr) deferrals_->add(1);
  }

  void publish(const Given& given);
  [[gnu::cold]] void call_guest();

  Ring ring_;
  const GuestMemory* memory_ = nullptr;
  std::uint8_t header_length_ = 0;
  bool is_mergeable_ = false;
  bool was_called_ = false;  // since it is open
  int call_fd_ = -1;
  Counter* deferrals_ = nullptr;
  std::uint64_t descriptors_walked_ = 0;
  int kick_fd_ = -1;
  Counter* interrupts_ = nullptr;
};

}  // namespace vmnat::dataplane
