// SPDX-License-Identifier: Apache-2.0
// EventRing: what one thread, the writer, tells another one, the reader, in the order in which it happens. Of a fixed
// size: what finds no room is counted as missed, and the writer goes on.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/cache_line.h"
#include "base/counter.h"

namespace vmnat {

template <typename Event>
class EventRing {
 public:
  // At least so many events; their memory is touched at once: a writer never waits for a page.
  explicit EventRing(std::size_t events) : mask_(std::bit_ceil(events) - 1), events_(mask_ + 1) {}

  // The writer.
  void add(const Event& event) {
    if (written_ - known_taken_ > mask_)
      known_taken_ = taken_.load(std::memory_order_acquire);  // pairs with take()
    if (written_ - known_taken_ > mask_) return missed_.add(1);
    events_[written_ & mask_] = event;
    published_.store(++written_, std::memory_order_release);  // pairs with take()
  }

  // The reader: the oldest event. False: there is none.
  bool take(Event& event) {
    if (read_ == published_.load(std::memory_order_acquire)) return false;  // pairs with add()
    event = events_[read_ & mask_];
    taken_.store(++read_, std::memory_order_release);  // pairs with add()
    return true;
  }
  // Any thread.
  [[nodiscard]] std::uint64_t missed() const { return missed_.get(); }

 private:
  const std::size_t mask_;
  std::vector<Event> events_;
  Counter missed_;
  // The writer's; events since start, as all that follow.
  alignas(kCacheLineSize) std::uint64_t written_ = 0;
  std::uint64_t known_taken_ = 0;
  std::atomic<std::uint64_t> published_{0};
  // The reader's.
  alignas(kCacheLineSize) std::uint64_t read_ = 0;
  std::atomic<std::uint64_t> taken_{0};
};

}  // namespace vmnat
