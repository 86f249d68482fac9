// SPDX-License-Identifier: Apache-2.0
#include "conntrack/vm_blocks.h"

#include <bit>

namespace vmnat::conntrack {

std::uint64_t VmBlocks::packed(const VmBlock& block) {
  const auto size = static_cast<std::uint64_t>(std::countr_zero(block.count)) + 1;
  return std::uint64_t{block.internal.host()} << 32 | std::uint64_t{block.vm_port} << 16 |
         std::uint64_t{block.policy} << 4 | size;
}

std::optional<VmBlock> VmBlocks::block_at(std::uint32_t place) const {
  const std::uint64_t word = owners_[place].load(std::memory_order_relaxed);
  if (word == 0) return std::nullopt;
  return VmBlock{.internal = net::Ipv4Addr::from_host(static_cast<std::uint32_t>(word >> 32)),
                 .external = static_cast<ExternalIndex>(place / kPortBlocks),
                 .first = place % kPortBlocks,
                 .count = 1u << ((word & 0xf) - 1),
                 .vm_port = static_cast<PortIndex>(word >> 16),
                 .policy = static_cast<std::uint16_t>(word >> 4 & 0xfff)};
}

std::uint32_t VmBlocks::newest_of(net::Ipv4Addr internal) const {
  return newest_.find(index_place(internal), [&](std::uint32_t place) {
    return static_cast<std::uint32_t>(owners_[place].load(std::memory_order_relaxed) >> 32) ==
           internal.host();
  });
}

bool VmBlocks::add(const VmBlock& block) {
  const std::uint32_t place = place_of(block.external, block.first);
  const TagIndex::Place at = index_place(block.internal);
  const std::uint32_t former = newest_of(block.internal);
  if (former != kNone) newest_.erase(at, former);
  if (!newest_.insert(at, place)) {
    if (former != kNone) newest_.insert(at, former);  // its room is there still
    return false;
  }
  next_[place] = former == kNone ? 0 : former + 1;
  owners_[place].store(packed(block), std::memory_order_relaxed);
  return true;
}

void VmBlocks::remove(const VmBlock& block) {
  const std::uint32_t place = place_of(block.external, block.first);
  const TagIndex::Place at = index_place(block.internal);
  std::uint32_t newer = newest_of(block.internal);
  if (newer == place) {
    newest_.erase(at, place);
    if (next_[place] != 0) newest_.insert(at, next_[place] - 1);  // its room is there still
  } else {
    while (next_[newer] != place + 1) newer = next_[newer] - 1;
    next_[newer] = next_[place];
  }
  next_[place] = 0;
  owners_[place].store(0, std::memory_order_relaxed);
}

}  // namespace vmnat::conntrack
