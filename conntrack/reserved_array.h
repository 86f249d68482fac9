// SPDX-License-Identifier: Apache-2.0
// ReservedArray<T>: a zeroed array of fixed length whose pages cost memory when they are first touched.
//
// Tables are sized for the worst case at start: address space is reserved then, memory is used as sessions
// come. `Pages::Huge` asks for 2 MiB pages (random access without TLB misses), touched 2 MiB at a time. That
// takes a quarter of a millisecond, and many times that in a VM whose host has to find the memory: control
// touches them ahead of the worker (look_ahead.h), which an array helps by saying what will be needed soon.
//
//   array of 16 MiB, 3 MiB of it used in order:   | used 3 | look-ahead 8 |           5 |
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

namespace vmnat::conntrack {

enum class Pages : unsigned char { Small, Huge };

// The kind of pages, and the NUMA node that they shall be on.
struct Placement {
  static constexpr int kAnyNode = -1;
  Pages pages = Pages::Small;
  int numa_node = kAnyNode;  // preferred, not demanded, whoever touches them first

  [[nodiscard]] std::size_t page_size() const { return pages == Pages::Huge ? 2u << 20 : 4096; }
};

// The pages of an array, of which the first `soon` bytes may be touched at any time.
struct Extent {
  std::byte* start = nullptr;
  std::size_t bytes = 0;
  std::size_t soon = 0;
};

// Zeroed pages, or nullptr when the address space or the limits of the process do not suffice.
void* reserve_pages(std::size_t bytes, Placement placement);
void release_pages(void* at, std::size_t bytes);
// Says which pages memory shall get that starts and ends where a huge page may.
void place_pages(void* at, std::size_t bytes, Placement placement);
// Gives pages to memory that has none yet, from the start of a page on. Memory that has pages stays as it is,
// whoever writes to it meanwhile. 0, or the system's error: EINVAL from Linux before 5.14, which has no such
// call.
int populate_pages(std::byte* at, std::size_t bytes);
// How many bytes of them have been touched.
std::size_t resident_bytes(const void* at, std::size_t bytes);

template <typename T>
class ReservedArray {
  static_assert(std::is_trivially_destructible_v<T>, "elements start as zero bytes and are never destroyed");

 public:
  ReservedArray() = default;
  explicit ReservedArray(std::size_t length, Placement placement = {})
      : elements_(static_cast<T*>(reserve_pages(length * sizeof(T), placement)),
                  Release{length * sizeof(T)}) {}
  // Memory of somebody else's, zeroed and at the start of a page, which outlives the array.
  explicit ReservedArray(std::span<T> memory)
      : elements_(memory.data(), Release{memory.size_bytes(), false}) {}

  [[nodiscard]] bool reserved() const { return elements_ != nullptr; }
  [[nodiscard]] std::size_t memory_used() const { return resident_bytes(elements_.get(), bytes()); }
  [[nodiscard]] std::size_t size() const { return bytes() / sizeof(T); }
  T& operator[](std::size_t i) { return elements_.get()[i]; }
  const T& operator[](std::size_t i) const { return elements_.get()[i]; }
  T* data() { return elements_.get(); }
  [[nodiscard]] const T* data() const { return elements_.get(); }

  // The pages of `count` elements from `first` on, of which `soon` bytes are touched soon.
  [[nodiscard]] Extent part(std::size_t first, std::size_t count, std::size_t soon) const {
    return {static_cast<std::byte*>(static_cast<void*>(elements_.get() + first)), count * sizeof(T),
            std::min(soon, count * sizeof(T))};
  }
  [[nodiscard]] Extent front(std::size_t soon) const { return part(0, size(), soon); }
  // The same for an array that fills in order and has `used` elements so far.
  [[nodiscard]] Extent filling(std::size_t used) const {
    constexpr std::size_t kAhead = 8u << 20;  // session records: 131 072, 43 ms at 3 M a second
    return front(used * sizeof(T) + kAhead);
  }

 private:
  struct Release {
    std::size_t bytes = 0;
    bool is_owner = true;
    void operator()(T* at) const {
      if (is_owner) release_pages(at, bytes);
    }
  };
  [[nodiscard]] std::size_t bytes() const { return elements_.get_deleter().bytes; }

  std::unique_ptr<T, Release> elements_;
};

}  // namespace vmnat::conntrack
