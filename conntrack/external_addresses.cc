// SPDX-License-Identifier: Apache-2.0
// Making tables of external addresses: control's work.
#include "conntrack/external_addresses.h"

#include <algorithm>
#include <bit>

namespace vmnat::conntrack {
namespace {

constexpr std::uint64_t bit(unsigned i) {
  return std::uint64_t{1} << (i % 64);
}

bool is_usable(const ExternalAddress& address) {
  return address.first_port > 0 && address.first_port <= address.last_port;
}

}  // namespace

AllowedPorts::AllowedPorts(std::uint16_t first, std::uint16_t last, std::span<const std::uint16_t> reserved) {
  for (unsigned port = first; port <= last; ++port) words_[port / kBlockPorts] |= bit(port);
  for (const unsigned port : reserved) words_[port / kBlockPorts] &= ~bit(port);
  count_blocks();
}

AllowedPorts AllowedPorts::common(const AllowedPorts& a, const AllowedPorts& b) {
  AllowedPorts both;
  for (unsigned block = 0; block < kPortBlocks; ++block) both.words_[block] = a.in(block)&b.in(block);
  both.count_blocks();
  return both;
}

void AllowedPorts::count_blocks() {
  for (unsigned block = 0; block < kPortBlocks; ++block) {
    if (words_[block] == 0) continue;
    blocks_[block / 64] |= bit(block);
    ++block_count_;
  }
}

ExternalAddresses::ExternalAddresses(std::vector<Entry> entries)
    : entries_(std::move(entries)), slots_(std::bit_ceil(entries_.size() * 2 + 2)), mask_(slots_.size() - 1) {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].ports == nullptr || entries_[i].address.is_unspecified()) continue;
    std::size_t at = slot(entries_[i].address);
    while (slots_[at].is_used) at = (at + 1) & mask_;
    slots_[at] = {entries_[i].address, static_cast<ExternalIndex>(i), true};
  }
}

std::shared_ptr<const ExternalAddresses> ExternalAddresses::of(std::span<const ExternalAddress> addresses) {
  if (addresses.empty() || addresses.size() > kMaxExternalAddresses) return nullptr;
  if (!std::ranges::all_of(addresses, is_usable)) return nullptr;
  std::vector<net::Ipv4Addr> sorted;
  std::vector<Entry> entries;
  for (const ExternalAddress& address : addresses) {
    sorted.push_back(address.address);
    entries.push_back({address.address, std::make_shared<const AllowedPorts>(
                                            address.first_port, address.last_port, address.reserved)});
  }
  std::ranges::sort(sorted);
  if (std::ranges::adjacent_find(sorted) != sorted.end()) return nullptr;
  return std::make_shared<const ExternalAddresses>(std::move(entries));
}

}  // namespace vmnat::conntrack
