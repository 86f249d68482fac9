// SPDX-License-Identifier: Apache-2.0
// FakeGuest: a guest's driver of one virtqueue, of 8 descriptors unless a test wants more, with 256 KiB of memory at two
// places. With kPackedRing among its features the ring is a packed one; tests need not know.
//
//   guest.offer(3, {{.length = 72, .at = guest.place(bytes)}});   a chain that starts at descriptor 3
//   guest.used()                                                  {head, length} of what came back
//
// Chains stand in a table of descriptors that lead to each other. In a packed ring, a chain is copied from there when it
// is offered, and its id is its head.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <span>
#include <stdexcept>
#include <vector>

#include "dataplane/device/guest_queue.h"
#include "tests/support/packet_builder.h"

namespace vmnat::test {

class FakeGuest {
 public:
  static constexpr std::uint16_t kSize = 8;
  static constexpr std::uint64_t kLow = 0x10000,
                                 kHigh = 0x100000000;  // where its memory is, by its addresses
  static constexpr std::uint64_t kBytes = 128 << 10;   // of each
  struct Buffer {
    std::uint64_t address = 0;
    std::uint32_t length = 0;
  };

  explicit FakeGuest(std::uint64_t features = dataplane::virtio::kVersion1, std::uint16_t start = 0,
                     std::uint16_t size = kSize)
      : size_(size),
        descriptors_(size),
        available_(2u + size + 1),
        used_(1u + 2 * size + 1),
        packed_(size),
        low_(kBytes),
        high_(kBytes),
        features_(features),
        start_(start),
        seen_(start) {
    memory_.count = 2;
    memory_.regions[0] = {kLow, kBytes, low_.data()};
    memory_.regions[1] = {kHigh, kBytes, high_.data()};
    available_[1] = used_start().index = start;
    next_ = next_used_ = place_of(start);
    for (std::uint16_t i = 0; is_packed() && i < size; ++i)  // as the lap so far has left them
      packed_[i].state.flags = (i < next_.index) == next_.lap ? kBothMarks : std::uint16_t{0};
    reopen();
  }
  // As librte_vhost's thread does it after a message.
  void reopen(int call_fd = -1, int kick_fd = -1) {
    reopen_at(is_packed() ? told(place_of(start_)) : start_, call_fd, kick_fd);
  }
  void reopen_at(std::uint16_t start, int call_fd = -1, int kick_fd = -1) {
    queue_ = dataplane::GuestQueue(
        {.descriptors = is_packed() ? static_cast<void*>(packed_.data()) : descriptors_.data(),
         .available = is_packed() ? static_cast<const void*>(&guest_event_) : available_.data(),
         .used = is_packed() ? static_cast<void*>(&device_event_) : used_.data(),
         .size = size_,
         .call_fd = call_fd,
         .kick_fd = kick_fd,
         .features = features_,
         .next_available = start,
         .next_used = start,
         .deferrals = &deferrals_},
        memory_);
  }
  dataplane::GuestQueue& queue() { return queue_; }
  [[nodiscard]] bool is_packed() const { return (features_ & dataplane::virtio::kPackedRing) != 0; }
  [[nodiscard]] std::uint16_t size() const { return size_; }  // of the ring
  [[nodiscard]] std::uint64_t deferrals() const { return deferrals_.get(); }

  // Guest memory that nothing else uses yet, filled with the bytes.
  Buffer place(const Bytes& bytes) {
    const Buffer buffer = room(bytes.size());
    std::copy(bytes.begin(), bytes.end(), here(buffer.address));
    return buffer;
  }
  Buffer room(std::size_t bytes) {
    const Buffer buffer{kLow + next_free_, static_cast<std::uint32_t>(bytes)};
    next_free_ += bytes;
    if (next_free_ > kBytes) throw std::length_error("the guest's memory is full");
    return buffer;
  }
  // A frame of zeroes, at the same place each time.
  static Buffer empty_frame() { return {kHigh, 72}; }
  // The region above is two from there on, as after memory was added.
  void split_high(std::uint64_t at) {
    memory_.regions[2] = {kHigh + at, kBytes - at, high_.data() + at};
    memory_.regions[1].bytes = at;
    memory_.count = 3;
  }
  // The region below is here from now on, at the addresses as before.
  void move_low(std::byte* to, std::uint64_t bytes) { memory_.regions[0] = {kLow, bytes, to}; }
  std::byte* here(std::uint64_t address) {
    return address >= kHigh ? high_.data() + (address - kHigh) : low_.data() + (address - kLow);
  }
  Bytes read(Buffer buffer) { return {here(buffer.address), here(buffer.address) + buffer.length}; }

  dataplane::virtio::Descriptor& descriptor(unsigned number) { return descriptors_[number]; }
  // A chain in consecutive descriptors from `head` on.
  void offer(std::uint16_t head, const std::vector<Buffer>& chain) {
    std::ranges::copy(linked(chain, head), descriptors_.begin() + head);
    offer_head(head);
  }
  // A chain in a table of its own.
  void offer_indirect(std::uint16_t head, const std::vector<Buffer>& chain) {
    Bytes table;
    for (const dataplane::virtio::Descriptor& descriptor : linked(chain, 0)) {
      const Bytes bytes = entry(descriptor);
      table.insert(table.end(), bytes.begin(), bytes.end());
    }
    const Buffer placed = place(table);
    descriptor(head) = {placed.address, placed.length, dataplane::virtio::Descriptor::kIndirect, 0};
    offer_head(head);
  }
  // As it stands in a table.
  [[nodiscard]] Bytes entry(const dataplane::virtio::Descriptor& descriptor) const {
    const PackedDescriptor packed{descriptor.address, {descriptor.length, 0, descriptor.flags}};
    Bytes bytes(sizeof descriptor);
    std::memcpy(bytes.data(), is_packed() ? static_cast<const void*>(&packed) : &descriptor, bytes.size());
    return bytes;
  }
  void offer_head(std::uint16_t head) {
    if (is_packed()) return copy_chain(head);
    std::uint16_t& index = available_[1];
    available_[2 + index % size_] = head;
    ++index;
  }
  // Chains that are as long as can be, as many as there can be, each descriptor of so many bytes, again and again.
  void offer_endless_chains(std::uint32_t bytes_each) {
    for (std::uint16_t i = 0; i < size_; ++i) {
      const bool is_last = i + 1 == size_;
      descriptors_[i] = {kLow, bytes_each, is_last ? std::uint16_t{0} : dataplane::virtio::Descriptor::kNext,
                         static_cast<std::uint16_t>(i + 1)};
    }
    for (unsigned i = 0; !is_packed() && i < size_; ++i) offer_head(0);
    const std::uint16_t next = queue_.next_available();
    for (std::uint16_t i = 0; is_packed() && i < size_; ++i)
      packed_[i] = {kLow,
                    {bytes_each, i,
                     static_cast<std::uint16_t>(dataplane::virtio::Descriptor::kNext |
                                                offered((i < (next & 0x7fff)) != (next >= 0x8000)))}};
  }
  void forbid_calls() {
    available_[0] = dataplane::virtio::RingStart::kNoInterrupt;
    guest_event_.flags = dataplane::virtio::EventSuppression::kDisable;
  }
  // Whether it would kick for one more chain (virtio 1.1, 2.6.7, 2.6.10, 2.7.10).
  [[nodiscard]] bool would_kick() const {
    if (is_packed()) return device_event_.flags != dataplane::virtio::EventSuppression::kDisable;
    if ((features_ & dataplane::virtio::kEventIndex) == 0)
      return (used_[0] & dataplane::virtio::RingStart::kNoKick) == 0;
    return static_cast<std::uint16_t>(used_[1u + 2 * size_]) == available_[1];
  }
  // When so many chains have been used, each of one descriptor.
  void call_at(std::uint16_t used_index) {
    available_[2u + size_] = used_index;
    guest_event_ = {told(place_of(used_index)), dataplane::virtio::EventSuppression::kAtPlace};
  }

  // What came back since the last time.
  std::vector<dataplane::virtio::UsedElement> used() {
    std::vector<dataplane::virtio::UsedElement> elements;
    if (is_packed()) return used_in_packed_ring();
    for (; seen_ != used_start().index; ++seen_) {
      const std::uint32_t* const element = &used_[1 + 2 * (seen_ % size_)];
      elements.push_back({.head = element[0], .length = element[1]});
    }
    return elements;
  }

 protected:
  using PackedDescriptor = dataplane::virtio::PackedDescriptor;
  struct Place {
    std::uint16_t index = 0;
    bool lap = true;
    void move_on(unsigned by, unsigned size) {
      const unsigned beyond = index + by;
      index = static_cast<std::uint16_t>(beyond % size);
      if (beyond / size % 2 != 0) lap = !lap;
    }
  };
  // Whose chain, and of how many descriptors.
  struct Offered {
    std::uint16_t id;
    unsigned count;
  };
  static constexpr std::uint16_t kBothMarks = PackedDescriptor::kAvailable | PackedDescriptor::kUsed;
  // Marks of what is on offer in a lap.
  static std::uint16_t offered(bool lap) {
    return lap ? PackedDescriptor::kAvailable : PackedDescriptor::kUsed;
  }
  static std::uint16_t told(Place place) {
    return static_cast<std::uint16_t>(place.index |
                                      (place.lap ? dataplane::virtio::EventSuppression::kLap : 0));
  }
  // When so many descriptors have gone round.
  [[nodiscard]] Place place_of(std::uint16_t count) const {
    return {static_cast<std::uint16_t>(count % size_), count / size_ % 2 == 0};
  }

 public:
  // What it knows of its packed ring, and what stands there.
  struct PackedState {
    std::vector<PackedDescriptor> ring;
    Place next, next_used;
    std::deque<Offered> offered;
  };
  [[nodiscard]] PackedState packed_state() const { return {packed_, next_, next_used_, offered_}; }
  void set_packed_state(const PackedState& state) {
    std::ranges::copy(state.ring, packed_.begin());
    next_ = state.next;
    next_used_ = state.next_used;
    offered_ = state.offered;
  }
  std::vector<PackedDescriptor>& packed_ring() { return packed_; }
  [[nodiscard]] const dataplane::GuestMemory& memory() const { return memory_; }

 private:
  // As far as it leads within the table, once round at most; its first descriptor last.
  void copy_chain(std::uint16_t head) {
    std::vector<PackedDescriptor> chain;
    for (std::uint16_t at = head; chain.size() < size_;) {
      const auto from = at < size_ ? descriptors_[at]
                                   : dataplane::virtio::Descriptor{.address = ~std::uint64_t{0}, .length = 1};
      chain.push_back({from.address, {from.length, head, from.flags}});
      if (at >= size_ || (from.flags & dataplane::virtio::Descriptor::kNext) == 0) break;
      at = from.next;
    }
    std::size_t on_offer = chain.size();
    for (const Offered& before : offered_) on_offer += before.count;
    if (on_offer > size_) return;  // there is no room for it
    Place at = next_;
    std::vector<Place> places;
    for (std::size_t i = 0; i < chain.size(); ++i, at.move_on(1, size_)) places.push_back(at);
    for (std::size_t i = chain.size(); i-- > 0;) {
      packed_[places[i].index] = chain[i];
      packed_[places[i].index].state.flags =
          static_cast<std::uint16_t>((chain[i].state.flags & ~kBothMarks) | offered(places[i].lap));
    }
    next_ = at;
    offered_.push_back({head, static_cast<unsigned>(chain.size())});
  }
  std::vector<dataplane::virtio::UsedElement> used_in_packed_ring() {
    std::vector<dataplane::virtio::UsedElement> elements;
    while (!offered_.empty()) {
      const PackedDescriptor::State state = packed_[next_used_.index].state;
      if ((state.flags & kBothMarks) != (next_used_.lap ? kBothMarks : 0)) break;
      elements.push_back({.head = state.id, .length = state.length});
      next_used_.move_on(offered_.front().count, size_);
      offered_.pop_front();
    }
    return elements;
  }

  // The buffers as descriptors of which each leads to the next one, the first standing at `first`.
  static std::vector<dataplane::virtio::Descriptor> linked(const std::vector<Buffer>& chain,
                                                           std::uint16_t first) {
    std::vector<dataplane::virtio::Descriptor> descriptors;
    for (const Buffer& buffer : chain)
      descriptors.push_back({buffer.address, buffer.length, dataplane::virtio::Descriptor::kNext, ++first});
    descriptors.back().flags = 0;
    return descriptors;
  }

  dataplane::virtio::RingStart& used_start() {
    return *reinterpret_cast<dataplane::virtio::RingStart*>(used_.data());
  }

  // Each by itself in memory, with nothing around that a wrong index could reach unnoticed by a sanitizer.
  std::uint16_t size_;
  std::vector<dataplane::virtio::Descriptor> descriptors_;
  std::vector<std::uint16_t> available_;
  std::vector<std::uint32_t> used_;
  std::vector<PackedDescriptor> packed_;
  dataplane::virtio::EventSuppression guest_event_, device_event_;
  Place next_, next_used_;       // in the packed ring: of what is offered, and comes back
  std::deque<Offered> offered_;  // what has not come back
  std::vector<std::byte> low_, high_;
  std::uint64_t next_free_ = 0;
  dataplane::GuestMemory memory_;
  std::uint64_t features_;
  std::uint16_t start_;
  std::uint16_t seen_;
  Counter deferrals_;
  dataplane::GuestQueue queue_;
};

}  // namespace vmnat::test
