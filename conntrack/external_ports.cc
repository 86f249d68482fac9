// SPDX-License-Identifier: Apache-2.0
// Building the map of external ports, and leasing its blocks.
#include "conntrack/external_ports.h"

#include <algorithm>
#include <bit>

namespace vmnat::conntrack {
namespace {

constexpr std::uint16_t kNoIndex = 0xffff;

std::size_t hash_of(net::Ipv4Addr address) {
  return address.host() * 0x9e37'79b1u;
}

bool is_usable(const ExternalAddress& address) {
  return address.first_port > 0 && address.first_port <= address.last_port;
}

}  // namespace

std::unique_ptr<ExternalPorts> ExternalPorts::create(std::span<const ExternalAddress> addresses,
                                                     unsigned workers) {
  if (addresses.empty() || addresses.size() > kMaxExternalAddresses) return nullptr;
  if (workers == 0 || workers >= kNoWorker || !std::ranges::all_of(addresses, is_usable)) return nullptr;
  std::unique_ptr<ExternalPorts> ports(new ExternalPorts);
  ports->workers_ = workers;
  if (!ports->reserve(addresses.size())) return nullptr;
  for (const ExternalAddress& address : addresses) {
    if (ports->index_of(address.address)) return nullptr;
    const auto external = static_cast<ExternalIndex>(ports->addresses_.size());
    ports->addresses_.push_back(address.address);
    const std::size_t mask = ports->index_by_hash_.size() - 1;
    std::size_t at = hash_of(address.address) & mask;
    while (ports->index_by_hash_[at] != kNoIndex) at = (at + 1) & mask;
    ports->index_by_hash_[at] = external;
    ports->allow_ports(external, address);
  }
  return ports;
}

bool ExternalPorts::reserve(std::size_t addresses) {
  index_by_hash_.assign(std::bit_ceil(addresses * 2 + 1), kNoIndex);
  owners_ = ReservedArray<std::atomic<WorkerIndex>>(addresses * kBlocks);
  unleased_ = ReservedArray<std::atomic<std::uint64_t>>(addresses * kBlockWords);
  allowed_ = ReservedArray<std::uint64_t>(addresses * kBlocks);
  blocks_ = ReservedArray<PortBlock>(addresses * kBlocks * kPortSpaces);
  return owners_.reserved() && unleased_.reserved() && allowed_.reserved() && blocks_.reserved();
}

void ExternalPorts::allow_ports(ExternalIndex external, const ExternalAddress& address) {
  std::uint64_t* allowed = &allowed_[external * kBlocks];
  for (unsigned port = address.first_port; port <= address.last_port; ++port) {
    allowed[port / kBlockPorts] |= std::uint64_t{1} << (port % kBlockPorts);
  }
  for (const unsigned port : address.reserved) {
    allowed[port / kBlockPorts] &= ~(std::uint64_t{1} << (port % kBlockPorts));
  }
  for (unsigned block = 0; block < kBlocks; ++block) {
    owners_[external * kBlocks + block].store(kNoWorker, std::memory_order_relaxed);
    if (allowed[block] == 0) continue;
    unleased_[external * kBlockWords + block / 64].fetch_or(std::uint64_t{1} << (block % 64),
                                                            std::memory_order_relaxed);
  }
}

std::optional<ExternalIndex> ExternalPorts::index_of(net::Ipv4Addr address) const {
  const std::size_t mask = index_by_hash_.size() - 1;
  for (std::size_t at = hash_of(address) & mask; index_by_hash_[at] != kNoIndex; at = (at + 1) & mask) {
    if (addresses_[index_by_hash_[at]] == address) return index_by_hash_[at];
  }
  return std::nullopt;
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
