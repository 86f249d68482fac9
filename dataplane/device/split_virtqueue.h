// SPDX-License-Identifier: Apache-2.0
// SplitVirtqueue: a virtqueue whose ring is in three parts (virtio 1.1, 2.6).
//
//   available ring    heads of chains, from the guest    | 7 | 3 | 9 |          next_available_ = 3
//   descriptors       buffers, chained                   7: [header, frame]     3: [header] -> [frame]
//   used ring         chains given back to the guest     | 7 | 3 | 9 |          index: one store a burst
//
// Only this side writes the index of the used ring, so a plain store publishes it. What stands in the ring behind it
// the guest does not look at: chains that were noted are forgotten by noting others in their place.
#pragma once

#include <algorithm>
#include <bit>

#include "dataplane/device/guest_copy.h"
#include "dataplane/device/virtqueue.h"

namespace vmnat::dataplane {

class SplitRing {
 public:
  using Place = unsigned;  // chains behind the next one
  struct Head {
    Place place;
    std::uint16_t descriptor;
  };
  struct Given {
    unsigned count = 0;
    [[nodiscard]] bool is_full() const { return false; }
  };
  class Steps;

  SplitRing() = default;
  explicit SplitRing(const VirtqueueLayout& layout)
      : descriptors_(static_cast<const virtio::Descriptor*>(layout.descriptors)),
        available_(static_cast<const virtio::RingStart*>(layout.available)),
        used_(static_cast<virtio::RingStart*>(layout.used)),
        mask_(static_cast<std::uint16_t>(layout.size - 1)),
        next_available_(layout.next_available),
        next_used_(layout.next_used),
        has_event_index_((layout.features & virtio::kEventIndex) != 0) {
    if (descriptors_ == nullptr || used_ == nullptr || !std::has_single_bit(layout.size))
      available_ = nullptr;
  }

  [[nodiscard]] bool is_open() const { return available_ != nullptr; }
  [[nodiscard]] unsigned size() const { return mask_ + 1u; }
  [[nodiscard]] std::uint16_t next_available() const { return next_available_; }
  [[nodiscard]] std::uint16_t next_used() const { return next_used_; }
  [[nodiscard]] bool has_waiting() const { return waiting() != 0; }

  void begin_call() { waiting_ = waiting(); }
  unsigned look(Head* heads, unsigned most) const {
    const unsigned count = std::min(unsigned{waiting_}, most);
    for (unsigned i = 0; i < count; ++i) {
      heads[i] = {i, head(i)};
      __builtin_prefetch(descriptors_ + (heads[i].descriptor & mask_));
    }
    return count;
  }
  [[nodiscard]] Place start() const { return 0; }
  [[nodiscard]] Place after(const Head& head) const { return head.place + 1; }
  // Of all that fill the ring, so many belong to the chain.
  [[nodiscard]] unsigned share_of(const Head&) const { return 1; }
  [[nodiscard]] bool holds(Place place) const { return place < waiting_; }
  bool read_head(Place place, Head& head) const {
    if (!holds(place)) return false;
    head = {place, this->head(place)};
    return true;
  }
  [[nodiscard]] bool ran_out_of_budget() const { return false; }

  // Its address and length, when the chain is one descriptor.
  bool read_single(const Head& head, std::uint64_t& address, std::uint32_t& length) const {
    if (head.descriptor > mask_) return false;
    const auto descriptor = read_once<virtio::Descriptor>(descriptors_ + head.descriptor);
    address = descriptor.address;
    length = descriptor.length;
    return (descriptor.flags & (virtio::Descriptor::kNext | virtio::Descriptor::kIndirect)) == 0;
  }

  void note(Given& given, const Head& head, std::uint32_t written, bool /*starts_frame*/ = true) {
    elements()[(next_used_ + given.count) & mask_] = {.head = head.descriptor, .length = written};
    ++given.count;
  }
  // What the ring has moved on by, for wants_call().
  unsigned publish(const Given& given) {
    next_available_ = static_cast<std::uint16_t>(next_available_ + given.count);
    next_used_ = static_cast<std::uint16_t>(next_used_ + given.count);
    virtio::store(used_->index, next_used_, std::memory_order_release);
    return given.count;
  }
  // 2.6.7.1, 2.6.8. With an index, the first time in any case: what the guest saw before is not known.
  [[nodiscard]] bool wants_call(unsigned moved, bool was_called) const {
    if (!has_event_index_) return (virtio::load(available_->flags) & virtio::RingStart::kNoInterrupt) == 0;
    const std::uint16_t event = virtio::load(heads()[mask_ + 1]);
    return static_cast<std::uint16_t>(next_used_ - event - 1) < moved || !was_called;
  }

  // 2.6.7, 2.6.10: by the place of the next chain, which is behind the used ring, or by a flag.
  void ask_for_kick() {
    if (has_event_index_) {
      auto* const event = static_cast<std::uint16_t*>(static_cast<void*>(elements() + mask_ + 1));
      virtio::store(*event, next_available_);
    } else {
      virtio::store(used_->flags, std::uint16_t{0});
    }
  }
  // With an event index the place is behind already: the guest kicks again after 65536 chains, or when asked.
  void refuse_kicks() {
    if (!has_event_index_) virtio::store(used_->flags, virtio::RingStart::kNoKick);
  }

 private:
  [[nodiscard]] const std::uint16_t* heads() const {
    return static_cast<const std::uint16_t*>(static_cast<const void*>(available_ + 1));
  }
  [[nodiscard]] virtio::UsedElement* elements() const {
    return static_cast<virtio::UsedElement*>(static_cast<void*>(used_ + 1));
  }
  [[nodiscard]] std::uint16_t head(Place place) const {
    return virtio::load(heads()[(next_available_ + place) & mask_]);
  }
  [[nodiscard]] std::uint16_t waiting() const {
    // Acquire: heads and descriptors are read after it; the guest's release is its store of the index.
    const std::uint16_t index = virtio::load(available_->index, std::memory_order_acquire);
    // More than there are is no guest's right; the ring goes round all the same.
    return std::min<std::uint16_t>(static_cast<std::uint16_t>(index - next_available_),
                                   static_cast<std::uint16_t>(mask_ + 1));
  }

  const virtio::Descriptor* descriptors_ = nullptr;
  const virtio::RingStart* available_ = nullptr;
  virtio::RingStart* used_ = nullptr;
  std::uint16_t mask_ = 0;
  std::uint16_t next_available_ = 0;
  std::uint16_t next_used_ = 0;
  std::uint16_t waiting_ = 0;  // when the call began
  bool has_event_index_ = false;
};

// The descriptors of a chain lead to each other by number.
class SplitRing::Steps {
 public:
  struct Descriptor {
    std::uint64_t address;
    std::uint32_t length;
    bool is_indirect, is_last;
  };
  Steps(const SplitRing& ring, const Head& head)
      : table_(ring.descriptors_), length_(ring.size()), next_(head.descriptor) {}

  [[nodiscard]] bool is_broken() const { return next_ >= length_; }
  Descriptor read() {
    const auto descriptor = read_once<virtio::Descriptor>(table_ + next_);
    next_ = descriptor.next;
    return {descriptor.address, descriptor.length, (descriptor.flags & virtio::Descriptor::kIndirect) != 0,
            (descriptor.flags & virtio::Descriptor::kNext) == 0};
  }
  // 2.6.5.3: the chain goes on in a table of its own.
  void enter(const std::byte* table, std::uint32_t bytes) {
    table_ = static_cast<const virtio::Descriptor*>(static_cast<const void*>(table));
    length_ = bytes / sizeof(virtio::Descriptor);
    next_ = 0;
  }

 private:
  const virtio::Descriptor* table_;
  std::size_t length_;
  std::uint16_t next_;
};

extern template class Virtqueue<SplitRing>;
using SplitVirtqueue = Virtqueue<SplitRing>;

}  // namespace vmnat::dataplane
