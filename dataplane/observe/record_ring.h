// SPDX-License-Identifier: Apache-2.0
// RecordRing: what a worker has seen for one observer, on its way to control: records, each with the bytes that were
// kept of a frame behind it. Of a fixed size: what finds no room is counted as missed, and the worker goes on.
//
//   worker    add() add() ... publish()
//   control   next() ... release(), one after the other
//
// A record and its bytes lie in one piece, so that what is left at the end of the memory may be skipped by a record of
// nothing. Example, 8 units: | 3 | 2 | nothing: 3 | and the next of 4 starts again at unit 0.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/cache_line.h"
#include "base/counter.h"
#include "base/ids.h"
#include "dataplane/observe/dropped.h"

namespace vmnat::dataplane {

enum class Sight : std::uint8_t {
  Nothing,
  Received,
  Transmitted,
  Dropped,
  // Of traces alone.
  Injected,
  Errand,  // taken up, from another worker, from control, or again
  Punted,
  Step,  // a step has passed it on
  Left,  // in a step
  Rule,  // judged by a rule, whose name follows
};

struct alignas(32) Record {
  std::uint64_t tsc = 0;         // when, by the time stamp counter
  std::uint32_t units = 1;       // of the ring, with what follows
  std::uint32_t length = 0;      // bytes of the frame
  std::uint32_t kept = 0;        // of them, from the first on: what follows
  PortIndex port = 0;            // where it was seen; Dropped: where it came from
  PortIndex towards = kNoPort;   // Dropped: where it was to leave by, if that was known
  Sight sight = Sight::Nothing;  // Nothing: to be passed over
  DropReason reason{};           // Dropped
  std::uint8_t step = 0;     // Step, Left: which; Punted: the reason; Errand: the errand; Rule: its action
  WorkerIndex worker = 0;    // of a trace
  std::uint32_t number = 0;  // the same: of the frame; 0: of a capture

  [[nodiscard]] const void* bytes() const { return this + 1; }
  [[nodiscard]] void* bytes() { return this + 1; }
};
static_assert(sizeof(Record) == 32);

class RecordRing {
 public:
  static constexpr std::size_t kLeastBytes = 256 * 1024;  // it holds the longest frame, wherever it starts

  // Control. At least so many bytes, which are touched at once: a worker never waits for a page.
  explicit RecordRing(std::size_t bytes)
      : mask_(std::bit_ceil(std::max(bytes, kLeastBytes)) / sizeof(Record) - 1),
        units_(std::make_unique<Record[]>(mask_ + 1)),
        missed_(std::make_unique<Counter[]>(kMostPorts)) {}

  // The worker. A record of a frame at the port, with room for so many bytes; nullptr: there is none. Good until the
  // ring is published.
  Record* add(std::uint32_t kept, PortIndex port) {
    const std::uint64_t units = 1 + (std::uint64_t{kept} + sizeof(Record) - 1) / sizeof(Record);
    const std::uint64_t to_end = mask_ + 1 - (written_ & mask_);
    const std::uint64_t skipped = units > to_end ? to_end : 0;
    if (!has_room(units + skipped)) {
      missed_[port].add(1);
      return nullptr;
    }
    if (skipped != 0) start_record(skipped);
    Record* record = start_record(units);
    record->kept = kept;
    record->port = port;
    return record;
  }
  void publish() { published_.store(written_, std::memory_order_release); }  // pairs with next()

  // Control. The oldest record, of Nothing perhaps; nullptr: there is none.
  const Record* next() {
    if (read_ == published_.load(std::memory_order_acquire)) return nullptr;  // pairs with publish()
    return &units_[read_ & mask_];
  }
  // The record that next() gave.
  void release() {
    read_ += units_[read_ & mask_].units;
    released_.store(read_, std::memory_order_release);  // pairs with has_room()
  }

  // Any thread.
  [[nodiscard]] std::uint64_t missed(PortIndex port) const { return missed_[port].get(); }
  [[nodiscard]] std::uint64_t missed() const {
    std::uint64_t sum = 0;
    for (std::size_t port = 0; port < kMostPorts; ++port) sum += missed_[port].get();
    return sum;
  }

 private:
  bool has_room(std::uint64_t units) {
    if (mask_ + 1 - (written_ - known_released_) >= units) return true;
    known_released_ = released_.load(std::memory_order_acquire);  // pairs with release()
    return mask_ + 1 - (written_ - known_released_) >= units;
  }
  Record* start_record(std::uint64_t units) {
    Record* record = &units_[written_ & mask_];
    *record = {.units = static_cast<std::uint32_t>(units)};
    written_ += units;
    return record;
  }

  const std::uint64_t mask_;
  const std::unique_ptr<Record[]> units_;
  const std::unique_ptr<Counter[]> missed_;  // by port
  // The worker's; in units since start, as all that follow.
  alignas(kCacheLineSize) std::uint64_t written_ = 0;
  std::uint64_t known_released_ = 0;
  std::atomic<std::uint64_t> published_{0};
  // Control's.
  alignas(kCacheLineSize) std::uint64_t read_ = 0;
  std::atomic<std::uint64_t> released_{0};
};

}  // namespace vmnat::dataplane
