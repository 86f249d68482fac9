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
#include <span>
#include <stdexcept>
#include <vector>

#include "dataplane/device/guest_queue.h"
#include "tests/support/packed_driver.h"
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
        packed_(size, start),
        low_(kBytes),
        high_(kBytes),
        features_(features),
        start_(start),
        seen_(start) {
    memory_.count = 2;
    memory_.regions[0] = {kLow, kBytes, low_.data()};
    memory_.regions[1] = {kHigh, kBytes, high_.data()};
    available_[1] = used_start().index = start;
    reopen();
  }
  // As librte_vhost's thread does it after a message.
  void reopen(int call_fd = -1, int kick_fd = -1) {
    reopen_at(is_packed() ? packed_.place_of(start_).told() : start_, call_fd, kick_fd);
  }
  void reopen_at(std::uint16_t start, int call_fd = -1, int kick_fd = -1) {
    queue_ = dataplane::GuestQueue(
        {.descriptors = is_packed() ? static_cast<void*>(packed_.ring().data()) : descriptors_.data(),
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
    const PackedDriver::Descriptor packed{descriptor.address, {descriptor.length, 0, descriptor.flags}};
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
      packed_.ring()[i] = {
          kLow,
          {bytes_each, i,
           static_cast<std::uint16_t>(dataplane::virtio::Descriptor::kNext |
                                      PackedDriver::offered((i < (next & 0x7fff)) != (next >= 0x8000)))}};
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
    guest_event_ = {packed_.place_of(used_index).told(), dataplane::virtio::EventSuppression::kAtPlace};
  }

  // What came back since the last time.
  std::vector<dataplane::virtio::UsedElement> used() {
    std::vector<dataplane::virtio::UsedElement> elements;
    if (is_packed()) return packed_.used();
    for (; seen_ != used_start().index; ++seen_) {
      const std::uint32_t* const element = &used_[1 + 2 * (seen_ % size_)];
      elements.push_back({.head = element[0], .length = element[1]});
    }
    return elements;
  }

  // What it knows of its packed ring, and what stands there.
  PackedDriver& packed() { return packed_; }
  [[nodiscard]] const dataplane::GuestMemory& memory() const { return memory_; }

 private:
  // As far as it leads within the table, once round at most.
  void copy_chain(std::uint16_t head) {
    std::vector<dataplane::virtio::Descriptor> chain;
    for (std::uint16_t at = head; chain.size() < size_;) {
      chain.push_back(at < size_ ? descriptors_[at]
                                 : dataplane::virtio::Descriptor{.address = ~std::uint64_t{0}, .length = 1});
      if (at >= size_ || (chain.back().flags & dataplane::virtio::Descriptor::kNext) == 0) break;
      at = chain.back().next;
    }
    packed_.offer(chain, head);
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
  PackedDriver packed_;
  dataplane::virtio::EventSuppression guest_event_, device_event_;
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
