// SPDX-License-Identifier: Apache-2.0
// PackedVirtqueue: a virtqueue whose ring is one array that both sides write (virtio 1.1, 2.7).
//
//   lap 1, next_ = 3      0 used    1 used    2 used    3 available    4 available    5 used (lap 0)   6 ...
//
// The guest makes a chain available by the flags of its first descriptor; the device gives it back by writing over that
// descriptor: id, length and flags are one store of 8 bytes. Chains go back in the order in which they came, and none
// is kept beyond a call: one place says all.
//
// The ring itself says where that place is, after every single store: all descriptors before it bear the device's mark
// of this lap (kUsed), all others that of the lap before. For that the device also marks the descriptors of a chain
// that follow the first one, before it gives that back; guests look at the first alone. A process that is killed, and
// whose VMM has forgotten how far the ring had come, leaves all that the next one has to know: packed_recovery.h.
//
// A frame in several chains goes back from its last chain to its first, which the guest waits for.
#pragma once

#include <algorithm>
#include <array>
#include <bit>

#include "dataplane/device/guest_copy.h"
#include "dataplane/device/virtqueue.h"

namespace vmnat::dataplane {

class PackedRing {
 public:
  struct Place {
    std::uint16_t index;
    bool lap;  // what both marks of a descriptor are when it is given back
  };
  struct Head {
    std::uint64_t state;  // of the first descriptor, in a register; a chain's id stands in its last one
    std::uint16_t index;
    std::uint16_t count;  // descriptors
    bool starts_frame;    // when it is given back
    [[nodiscard]] std::uint32_t length() const { return static_cast<std::uint32_t>(state); }
    [[nodiscard]] std::uint16_t flags() const { return static_cast<std::uint16_t>(state >> kFlagsAt); }
    void set_id(std::uint16_t id) { state = (state & ~(kIds << kIdAt)) | std::uint64_t{id} << kIdAt; }
    [[nodiscard]] bool lap() const { return (flags() & virtio::PackedDescriptor::kAvailable) != 0; }
    [[nodiscard]] bool is_single() const { return (flags() & kLeadsOn) == 0; }
  };
  // In the order of the ring, with the states that they then have.
  struct Given {
    // Those of one frame end there; no driver's buffers are so short that 64 KB need more.
    static constexpr unsigned kFull = 1024;
    static constexpr unsigned kMost = kFull + 3 * VirtqueueBudget::kMostFrames;
    unsigned count = 0;
    bool has_long_frames = false;  // in several chains
    std::array<Head, kMost> chains;
    [[nodiscard]] bool is_full() const { return count >= kFull; }
  };
  class Steps;

  PackedRing() = default;
  explicit PackedRing(const VirtqueueLayout& layout)
      : descriptors_(static_cast<virtio::PackedDescriptor*>(layout.descriptors)),
        guest_event_(static_cast<const virtio::EventSuppression*>(layout.available)),
        device_event_(static_cast<virtio::EventSuppression*>(layout.used)),
        size_(layout.size),
        next_{static_cast<std::uint16_t>(layout.next_available & ~virtio::EventSuppression::kLap),
              (layout.next_available & virtio::EventSuppression::kLap) != 0},
        has_event_index_((layout.features & virtio::kEventIndex) != 0) {
    if (guest_event_ == nullptr || device_event_ == nullptr || next_.index >= size_) descriptors_ = nullptr;
  }

  [[nodiscard]] bool is_open() const { return descriptors_ != nullptr; }
  [[nodiscard]] unsigned size() const { return size_; }
  [[nodiscard]] std::uint16_t next_available() const {
    return static_cast<std::uint16_t>(next_.index | (next_.lap ? virtio::EventSuppression::kLap : 0));
  }
  [[nodiscard]] std::uint16_t next_used() const { return next_available(); }
  [[nodiscard]] bool has_waiting() const { return holds(next_); }

  void begin_call() { left_to_measure_ = kMeasuredPerCall; }
  unsigned look(Head* heads, unsigned most) {
    for (unsigned ahead = kOfALine; ahead < most; ahead += kOfALine) {
      const unsigned index = next_.index + ahead;
      __builtin_prefetch(&descriptors_[index < size_ ? index : 0]);
    }
    Place place = next_;
    unsigned count = look_at_singles(heads, most);
    if (count != 0) place = after(heads[count - 1]);
    for (; count < most && read_head(place, heads[count]); ++count) place = after(heads[count]);
    return count;
  }
  [[nodiscard]] Place start() const { return next_; }
  [[nodiscard]] Place after(const Head& head) const {
    const unsigned index = head.index + unsigned{head.count};
    return index < size_ ? Place{static_cast<std::uint16_t>(index), head.lap()}
                         : Place{static_cast<std::uint16_t>(index - size_), !head.lap()};
  }
  [[nodiscard]] unsigned share_of(const Head& head) const { return head.count; }
  [[nodiscard]] bool holds(Place place) const {
    return is_available(static_cast<std::uint16_t>(state_at(place.index) >> kFlagsAt), place.lap);
  }
  bool read_head(Place place, Head& head) {
    head = {.state = state_at(place.index), .index = place.index, .count = 1};
    if (!is_available(head.flags(), place.lap)) return false;
    return (head.flags() & virtio::Descriptor::kNext) == 0 || measure(head);
  }
  [[nodiscard]] bool ran_out_of_budget() const { return left_to_measure_ == 0; }

  bool read_single(const Head& head, std::uint64_t& address, std::uint32_t& length) const {
    address = virtio::load(descriptors_[head.index].address);
    length = head.length();
    return head.is_single();
  }

  void note(Given& given, const Head& head, std::uint32_t written, bool starts_frame = true) {
    given.chains[given.count++] = {used_state(head, written), head.index, head.count, starts_frame};
    given.has_long_frames |= !starts_frame;
  }
  unsigned publish(const Given& given) {
    const Head* const end = given.chains.data() + given.count;
    const Place behind = after(end[-1]);
    const unsigned moved =
        behind.lap == next_.lap ? behind.index - unsigned{next_.index} : size_ + behind.index - next_.index;
    if (moved == given.count && !given.has_long_frames)
      for (const Head* used = given.chains.data(); used != end; ++used) give_back(*used);
    else
      give_back_frames(given.chains.data(), end);
    next_ = behind;
    return moved;
  }
  // 2.7.10, 2.7.14: never, always, or when the place is passed; this the first time in any case: what the guest saw
  // before is not known.
  [[nodiscard]] bool wants_call(unsigned moved, bool was_called) const {
    const auto event = read_once<virtio::EventSuppression>(guest_event_);
    if (event.flags != virtio::EventSuppression::kAtPlace || !has_event_index_)
      return event.flags != virtio::EventSuppression::kDisable;
    const bool lap = (event.place & virtio::EventSuppression::kLap) != 0;
    const int place = event.place & ~virtio::EventSuppression::kLap;
    const int behind = next_.index - (lap == next_.lap ? place : place - int{size_});
    return (behind > 0 && behind <= static_cast<int>(moved)) || !was_called;
  }

  // Not by the place of the next chain: device_event_->place is kept for packed_recovery.h.
  void ask_for_kick() { virtio::store(device_event_->flags, virtio::EventSuppression::kEnable); }
  void refuse_kicks() { virtio::store(device_event_->flags, virtio::EventSuppression::kDisable); }

 private:
  using State = virtio::PackedDescriptor::State;
  static constexpr unsigned kIdAt = 32, kFlagsAt = 48;  // bits of a state
  static constexpr std::uint64_t kIds = 0xffff;
  static constexpr std::uint16_t kLeadsOn = virtio::Descriptor::kNext | virtio::Descriptor::kIndirect;
  static constexpr unsigned kOfALine = 64 / sizeof(virtio::PackedDescriptor);  // descriptors
  // Descriptors of chains that follow the first one, of which a call looks at so many to find the next chain.
  static constexpr unsigned kMeasuredPerCall = 2 * VirtqueueBudget::kDescriptorsPerCall;

  // 2.7.1
  [[nodiscard]] static bool is_available(std::uint16_t flags, bool lap) {
    using virtio::PackedDescriptor;
    return (flags & (PackedDescriptor::kAvailable | PackedDescriptor::kUsed)) ==
           (lap ? PackedDescriptor::kAvailable : PackedDescriptor::kUsed);
  }
  // Acquire: the rest of the chain is read after it; the guest's release is its store of the flags.
  [[nodiscard]] std::uint64_t state_at(unsigned index) const {
    return std::bit_cast<std::uint64_t>(virtio::load(descriptors_[index].state, std::memory_order_acquire));
  }
  [[gnu::cold]] bool measure(Head& head);
  // What fast guests offer, chains of one descriptor, up to the ring's end.
  unsigned look_at_singles(Head* heads, unsigned most) const {
    using virtio::PackedDescriptor;
    constexpr std::uint64_t kLooked = PackedDescriptor::kAvailable | PackedDescriptor::kUsed | kLeadsOn;
    const std::uint64_t wanted = next_.lap ? PackedDescriptor::kAvailable : PackedDescriptor::kUsed;
    const unsigned here = std::min<unsigned>(most, size_ - next_.index);
    unsigned count = 0;
    for (unsigned index = next_.index; count < here; ++count, ++index) {
      const std::uint64_t state = state_at(index);
      if ((state >> kFlagsAt & kLooked) != wanted) break;
      heads[count] = {.state = state, .index = static_cast<std::uint16_t>(index), .count = 1};
    }
    return count;
  }
  [[nodiscard]] static std::uint64_t used_state(const Head& head, std::uint32_t written) {
    using virtio::PackedDescriptor;
    static_assert(PackedDescriptor::kUsed == PackedDescriptor::kAvailable << 8);
    const std::uint64_t lap = head.state & std::uint64_t{PackedDescriptor::kAvailable} << kFlagsAt;
    const std::uint64_t mark = written != 0 ? std::uint64_t{PackedDescriptor::kWritten} << kFlagsAt : 0;
    return written | (head.state & kIds << kIdAt) | lap | lap << 8 | mark;
  }
  // With its marks. Release: frame and followers are written, or read, before it; the guest's acquire is its load of the
  // flags.
  void give_back(const Head& used) {
    virtio::store(descriptors_[used.index].state, std::bit_cast<State>(used.state),
                  std::memory_order_release);
  }
  [[gnu::cold]] void give_back_frames(const Head* first, const Head* end);
  void give_back_frame(const Head* first, const Head* end);
  void mark_followers(const Head& head, bool is_given);

  virtio::PackedDescriptor* descriptors_ = nullptr;
  const virtio::EventSuppression* guest_event_ = nullptr;
  virtio::EventSuppression* device_event_ = nullptr;
  std::uint16_t size_ = 0;
  Place next_{};
  bool has_event_index_ = false;
  unsigned left_to_measure_ = 0;
};

// The descriptors of a chain follow each other, from the ring's end to its start.
class PackedRing::Steps {
 public:
  struct Descriptor {
    std::uint64_t address;
    std::uint32_t length;
    bool is_indirect, is_last;
  };
  Steps(const PackedRing& ring, const Head& head)
      : table_(ring.descriptors_), length_(ring.size_), next_(head.index), left_(head.count) {}

  [[nodiscard]] bool is_broken() const { return left_ == 0; }
  Descriptor read() {
    const auto descriptor = read_once<virtio::PackedDescriptor>(table_ + next_);
    next_ = next_ + 1 == length_ ? 0 : next_ + 1;
    --left_;
    const auto [length, id, flags] = descriptor.state;
    return {descriptor.address, length, (flags & virtio::Descriptor::kIndirect) != 0,
            left_ == 0 && (is_in_table_ || (flags & virtio::Descriptor::kNext) == 0)};
  }
  // 2.7.7: in a table all entries are the chain's, whatever their flags.
  void enter(const std::byte* table, std::uint32_t bytes) {
    table_ = static_cast<const virtio::PackedDescriptor*>(static_cast<const void*>(table));
    length_ = left_ = bytes / sizeof(virtio::PackedDescriptor);
    next_ = 0;
    is_in_table_ = true;
  }

 private:
  const virtio::PackedDescriptor* table_;
  std::size_t length_, next_, left_;
  bool is_in_table_ = false;
};

extern template class Virtqueue<PackedRing>;
using PackedVirtqueue = Virtqueue<PackedRing>;

}  // namespace vmnat::dataplane
