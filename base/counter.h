// SPDX-License-Identifier: Apache-2.0
// Counter: one writer, any number of readers who see it whole.
#pragma once

#include <atomic>
#include <cstdint>

namespace vmnat {

// An increment is a plain load, add and store.
class Counter {
 public:
  void add(std::uint64_t amount) { set(get() + amount); }
  // Of a gauge, which also falls.
  void subtract(std::uint64_t amount) { set(get() - amount); }
  void set(std::uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace vmnat
