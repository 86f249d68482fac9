// SPDX-License-Identifier: Apache-2.0
// Building the map of external ports: control's part, before any worker runs.
#include "conntrack/external_ports.h"

#include <algorithm>
#include <bit>

namespace vmnat::conntrack {
namespace {

bool is_usable(const ExternalAddress& address) {
  return address.first_port > 0 && address.first_port <= address.last_port;
}

}  // namespace

std::unique_ptr<ExternalPorts> ExternalPorts::create(std::span<const ExternalAddress> addresses,
                                                     unsigned workers, std::span<const WorkerIndex> homes) {
  if (addresses.empty() || addresses.size() > kMaxExternalAddresses) return nullptr;
  if (workers == 0 || workers >= kNoWorker || !std::ranges::all_of(addresses, is_usable)) return nullptr;
  if (!homes.empty() && homes.size() != kBlocks) return nullptr;
  if (std::ranges::any_of(homes, [&](WorkerIndex home) { return home >= workers; })) return nullptr;
  std::unique_ptr<ExternalPorts> ports(new ExternalPorts);
  ports->workers_ = workers;
  ports->set_homes(homes);
  if (!ports->reserve(addresses.size())) return nullptr;
  for (const ExternalAddress& address : addresses)
    if (!ports->add(address)) return nullptr;
  return ports;
}

void ExternalPorts::set_homes(std::span<const WorkerIndex> homes) {
  homes_.assign(workers_, {});
  for (unsigned block = 0; block < homes.size(); ++block)
    homes_[homes[block]][block / 64] |= std::uint64_t{1} << (block % 64);
  for (BlockSet& home : homes_)
    if (home == BlockSet{}) home.fill(~std::uint64_t{0});
}

bool ExternalPorts::add(const ExternalAddress& address) {
  const bool is_rented = address.address.is_unspecified();
  if (index_of(address.address) || (is_rented && rented_ != kNoIndex)) return false;
  const auto external = static_cast<ExternalIndex>(block_counts_.size());
  addresses_[external].store(address.address.raw(), std::memory_order_relaxed);
  block_counts_.push_back(0);
  allow_ports(external, address);
  if (is_rented) {
    rented_ = external;
    return true;
  }
  const std::size_t mask = index_by_hash_.size() - 1;
  std::size_t at = hash_of(address.address) & mask;
  while (index_by_hash_[at] != kNoIndex) at = (at + 1) & mask;
  index_by_hash_[at] = external;
  return true;
}

bool ExternalPorts::reserve(std::size_t addresses) {
  index_by_hash_.assign(std::bit_ceil(addresses * 2 + 1), kNoIndex);
  addresses_ = ReservedArray<std::atomic<std::uint32_t>>(addresses);
  owners_ = ReservedArray<std::atomic<WorkerIndex>>(addresses * kBlocks);
  unassigned_ = ReservedArray<std::atomic<std::uint64_t>>(addresses * kBlockWords);
  allowed_ = ReservedArray<std::uint64_t>(addresses * kBlocks);
  blocks_ = ReservedArray<PortBlock>(addresses * kBlocks * kPortSpaces);
  if (!addresses_.reserved() || !owners_.reserved() || !unassigned_.reserved() || !allowed_.reserved() ||
      !blocks_.reserved())
    return false;
  constexpr std::size_t kFromStart = 4u << 20;  // 42 addresses; of more, workers touch the rest themselves
  const Extent blocks = blocks_.front(kFromStart);
  populate_pages(blocks.start, blocks.soon);  // refused: the same
  return true;
}

void ExternalPorts::allow_ports(ExternalIndex external, const ExternalAddress& address) {
  std::uint64_t* allowed = &allowed_[external * kBlocks];
  for (unsigned port = address.first_port; port <= address.last_port; ++port)
    allowed[port / kBlockPorts] |= std::uint64_t{1} << (port % kBlockPorts);
  for (const unsigned port : address.reserved)
    allowed[port / kBlockPorts] &= ~(std::uint64_t{1} << (port % kBlockPorts));
  for (unsigned block = 0; block < kBlocks; ++block) {
    owners_[external * kBlocks + block].store(kNoWorker, std::memory_order_relaxed);
    if (allowed[block] == 0) continue;
    ++block_counts_[external];
    unassigned_[external * kBlockWords + block / 64].fetch_or(std::uint64_t{1} << (block % 64),
                                                              std::memory_order_relaxed);
  }
}

}  // namespace vmnat::conntrack
