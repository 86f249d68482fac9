// SPDX-License-Identifier: Apache-2.0
// Finding an external address and leasing its blocks: the workers' part of ExternalPorts.
#include <bit>

#include "conntrack/external_ports.h"

namespace vmnat::conntrack {

std::optional<ExternalIndex> ExternalPorts::index_of(net::Ipv4Addr address) const {
  const std::size_t mask = index_by_hash_.size() - 1;
  for (std::size_t at = hash_of(address) & mask; index_by_hash_[at] != kNoIndex; at = (at + 1) & mask) {
    if (this->address(index_by_hash_[at]) == address) return index_by_hash_[at];
  }
  const bool is_rented =
      rented_ != kNoIndex && !address.is_unspecified() && this->address(rented_) == address;
  return is_rented ? std::optional{rented_} : std::nullopt;
}

std::optional<unsigned> ExternalPorts::lease_any(ExternalIndex external, WorkerIndex worker,
                                                 std::uint64_t salt) {
  const auto turn = static_cast<int>(salt >> 58);
  for (unsigned i = 0; i < kBlockWords; ++i) {
    const unsigned word = static_cast<unsigned>(salt + i) % kBlockWords;
    std::uint64_t free = unleased_[external * kBlockWords + word].load(std::memory_order_relaxed);
    while (free != 0) {
      const unsigned bit = static_cast<unsigned>(std::countr_zero(std::rotr(free, turn)) + turn) % 64;
      if (lease(external, word * 64 + bit, worker)) return word * 64 + bit;
      free &= ~(std::uint64_t{1} << bit);
    }
  }
  return std::nullopt;
}

bool ExternalPorts::lease(ExternalIndex external, unsigned block, WorkerIndex worker) {
  auto& word = unleased_[external * kBlockWords + block / 64];
  const std::uint64_t bit = std::uint64_t{1} << (block % 64);
  if ((word.load(std::memory_order_relaxed) & bit) == 0) return false;
  // Acquire pairs with the release of give_back(): the block's words are as its last holder left them.
  if ((word.fetch_and(~bit, std::memory_order_acquire) & bit) == 0) return false;
  owners_[external * kBlocks + block].store(worker, std::memory_order_relaxed);
  return true;
}

void ExternalPorts::give_back(ExternalIndex external, unsigned block) {
  owners_[external * kBlocks + block].store(kNoWorker, std::memory_order_relaxed);
  unleased_[external * kBlockWords + block / 64].fetch_or(std::uint64_t{1} << (block % 64),
                                                          std::memory_order_release);
}

}  // namespace vmnat::conntrack
