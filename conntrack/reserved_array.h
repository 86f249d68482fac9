// SPDX-License-Identifier: Apache-2.0
// ReservedArray<T>: a zeroed array of fixed length whose pages cost memory when they are first touched.
//
// Tables are sized for the worst case at start: address space is reserved then, memory is used as sessions
// come. `Pages::Huge` asks for 2 MiB pages (random access without TLB misses), touched 2 MiB at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

namespace vmnat::conntrack {

enum class Pages : unsigned char { Small, Huge };

// Zeroed pages, or nullptr when the address space or the limits of the process do not suffice.
void* reserve_pages(std::size_t bytes, Pages pages);
void release_pages(void* at, std::size_t bytes);
// Of the pages, what has been touched.
std::size_t resident_bytes(const void* at, std::size_t bytes);

template <typename T>
class ReservedArray {
  static_assert(std::is_trivially_destructible_v<T>, "elements start as zero bytes and are never destroyed");

 public:
  ReservedArray() = default;
  explicit ReservedArray(std::size_t length, Pages pages = Pages::Small)
      : elements_(static_cast<T*>(reserve_pages(length * sizeof(T), pages)), Release{length * sizeof(T)}) {}

  [[nodiscard]] bool reserved() const { return elements_ != nullptr; }
  [[nodiscard]] std::size_t memory_used() const {
    return resident_bytes(elements_.get(), elements_.get_deleter().bytes);
  }
  [[nodiscard]] std::size_t size() const { return elements_.get_deleter().bytes / sizeof(T); }
  T& operator[](std::size_t i) { return elements_.get()[i]; }
  const T& operator[](std::size_t i) const { return elements_.get()[i]; }
  T* data() { return elements_.get(); }
  const T* data() const { return elements_.get(); }

 private:
  struct Release {
    std::size_t bytes = 0;
    void operator()(T* at) const { release_pages(at, bytes); }
  };
  std::unique_ptr<T, Release> elements_;
};

}  // namespace vmnat::conntrack
