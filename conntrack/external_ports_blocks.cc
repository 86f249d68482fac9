// SPDX-License-Identifier: Apache-2.0
// Assigning blocks: the workers' part of ExternalPorts.
#include <bit>

#include "conntrack/external_ports.h"

namespace vmnat::conntrack {
namespace {

// The block of the set that `before` others stand before; the set has more than that.
unsigned nth(const BlockSet& set, unsigned before) {
  unsigned word = 0;
  for (unsigned here = 0; (here = static_cast<unsigned>(std::popcount(set[word]))) <= before; ++word)
    before -= here;
  std::uint64_t left = set[word];
  for (; before > 0; --before) left &= left - 1;
  return word * 64 + static_cast<unsigned>(std::countr_zero(left));
}

}  // namespace

// Each try that fails is a block that has been assigned to another worker since its word was read.
std::optional<unsigned> ExternalPorts::assign_among(const BlockSet& among, ExternalIndex external,
                                                    WorkerIndex worker, std::uint64_t salt) {
  BlockSet free;
  unsigned count = 0;
  for (unsigned word = 0; word < kBlockWords; ++word) {
    free[word] = among[word] & ~assigned_[external * kBlockWords + word].load(std::memory_order_relaxed);
    count += static_cast<unsigned>(std::popcount(free[word]));
  }
  for (; count > 0; --count) {
    const unsigned block = nth(free, static_cast<unsigned>((salt >> 32) * count >> 32));
    if (assign(external, block, worker)) return block;
    free[block / 64] &= ~(std::uint64_t{1} << (block % 64));
  }
  return std::nullopt;
}

bool ExternalPorts::assign(ExternalIndex external, unsigned block, WorkerIndex worker) {
  auto& word = assigned_[external * kBlockWords + block / 64];
  const std::uint64_t bit = std::uint64_t{1} << (block % 64);
  if ((word.load(std::memory_order_relaxed) & bit) != 0) return false;
  // Acquire pairs with the release of give_back(): the block's words are as the holder before left them.
  if ((word.fetch_or(bit, std::memory_order_acquire) & bit) != 0) return false;
  owners_[external * kPortBlocks + block].store(static_cast<std::uint8_t>(worker + 1),
                                                std::memory_order_relaxed);
  return true;
}

void ExternalPorts::give_back(ExternalIndex external, unsigned block) {
  owners_[external * kPortBlocks + block].store(0, std::memory_order_relaxed);
  assigned_[external * kBlockWords + block / 64].fetch_and(~(std::uint64_t{1} << (block % 64)),
                                                           std::memory_order_release);
}

}  // namespace vmnat::conntrack
