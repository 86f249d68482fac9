// SPDX-License-Identifier: Apache-2.0
// Finding an external address, assigning its blocks: the workers' part of ExternalPorts.
#include <bit>

#include "conntrack/external_ports.h"

namespace vmnat::conntrack {
namespace {

// The block of the set that `before` others stand before; the set has more than that.
unsigned nth(const ExternalPorts::BlockSet& set, unsigned before) {
  unsigned word = 0;
  for (unsigned here = 0; (here = static_cast<unsigned>(std::popcount(set[word]))) <= before; ++word)
    before -= here;
  std::uint64_t left = set[word];
  for (; before > 0; --before) left &= left - 1;
  return word * 64 + static_cast<unsigned>(std::countr_zero(left));
}

}  // namespace

std::optional<ExternalIndex> ExternalPorts::index_of(net::Ipv4Addr address) const {
  const std::size_t mask = index_by_hash_.size() - 1;
  for (std::size_t at = hash_of(address) & mask; index_by_hash_[at] != kNoIndex; at = (at + 1) & mask)
    if (this->address(index_by_hash_[at]) == address) return index_by_hash_[at];
  const bool is_rented =
      rented_ != kNoIndex && !address.is_unspecified() && this->address(rented_) == address;
  return is_rented ? std::optional{rented_} : std::nullopt;
}

std::optional<unsigned> ExternalPorts::assign_any(ExternalIndex external, WorkerIndex worker,
                                                  std::uint64_t salt) {
  if (const auto block = assign_at_home(external, worker, salt)) return block;
  BlockSet others = homes_[worker];
  for (std::uint64_t& word : others) word = ~word;
  return assign_among(others, external, worker, salt);
}

// Each try that fails is a block that has been assigned to another worker since its word was read.
std::optional<unsigned> ExternalPorts::assign_among(const BlockSet& blocks, ExternalIndex external,
                                                    WorkerIndex worker, std::uint64_t salt) {
  BlockSet free;
  unsigned count = 0;
  for (unsigned word = 0; word < kBlockWords; ++word) {
    free[word] = unassigned_[external * kBlockWords + word].load(std::memory_order_relaxed) & blocks[word];
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
  auto& word = unassigned_[external * kBlockWords + block / 64];
  const std::uint64_t bit = std::uint64_t{1} << (block % 64);
  if ((word.load(std::memory_order_relaxed) & bit) == 0) return false;
  // Acquire pairs with the release of give_back(): the block's words are as the holder before left them.
  if ((word.fetch_and(~bit, std::memory_order_acquire) & bit) == 0) return false;
  owners_[external * kBlocks + block].store(worker, std::memory_order_relaxed);
  return true;
}

void ExternalPorts::give_back(ExternalIndex external, unsigned block) {
  owners_[external * kBlocks + block].store(kNoWorker, std::memory_order_relaxed);
  unassigned_[external * kBlockWords + block / 64].fetch_or(std::uint64_t{1} << (block % 64),
                                                            std::memory_order_release);
}

}  // namespace vmnat::conntrack
