// SPDX-License-Identifier: Apache-2.0
// WordTable: a fixed table that control makes and workers look words up in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/fibonacci_hash.h"

namespace vmnat::dataplane {

// A fixed open-addressing table from a word (MAC or IPv4 address, never 0) to a value. Copies share it: a
// state costs what has changed since the one before.
template <typename Value>
class WordTable {
 public:
  struct Entry {
    std::uint64_t key = 0;
    Value value{};
  };

  WordTable() = default;
  // `entries` hold distinct keys other than 0. At most half of the slots are used.
  explicit WordTable(const std::vector<Entry>& entries) {
    std::size_t size = 4;
    while (size < entries.size() * 2) size *= 2;
    const auto slots = std::make_shared<Entry[]>(size);
    mask_ = size - 1;
    for (const Entry& entry : entries) {
      std::size_t at = slot(entry.key);
      while (slots[at].key != 0) at = (at + 1) & mask_;
      slots[at] = entry;
    }
    slots_ = slots;
  }

  [[nodiscard]] const Value* find(std::uint64_t key) const {
    if (slots_ == nullptr) return nullptr;
    for (std::size_t at = slot(key);; at = (at + 1) & mask_) {
      if (slots_[at].key == 0) return nullptr;  // first: an empty slot is nothing's, not 0's
      if (slots_[at].key == key) return &slots_[at].value;
    }
  }

 private:
  [[nodiscard]] std::size_t slot(std::uint64_t key) const { return fibonacci_hash(key) & mask_; }
  std::shared_ptr<const Entry[]> slots_;
  std::size_t mask_ = 0;
};

}  // namespace vmnat::dataplane
