// SPDX-License-Identifier: Apache-2.0
// PortPool's part of VMs' blocks (vm_blocks.h): taking blocks side by side, and ports of them.
#include <bit>
#include <utility>

#include "conntrack/port_pool.h"

namespace vmnat::conntrack {
namespace {

bool has_gaps(const AllowedPorts& allowed, unsigned first, unsigned count) {
  for (unsigned block = first; block < first + count; ++block)
    if (~allowed.in(block) != 0) return true;
  return false;
}

bool has_any(const AllowedPorts& allowed, unsigned first, unsigned count) {
  for (unsigned block = first; block < first + count; ++block)
    if (allowed.in(block) != 0) return true;
  return false;
}

}  // namespace

// From a random place on (RFC 6056), first those without gaps.
std::optional<unsigned> PortPool::take_for_vm(ExternalIndex external, unsigned count, Time now) {
  Held& held = held_[external];
  if (held.too_many != 0 && count >= held.too_many && held.too_many_at == now) return std::nullopt;
  const AllowedPorts& allowed = *addresses_->ports(external);
  const unsigned places = kPortBlocks / count, start = static_cast<unsigned>(random_.next() >> 32) % places;
  for (const bool with_gaps : {false, true}) {
    for (unsigned i = 0; i < places; ++i) {
      const unsigned first = (start + i) % places * count;
      if (has_gaps(allowed, first, count) != with_gaps || !has_any(allowed, first, count)) continue;
      if (take_for_vm(external, first, count)) return first;
    }
  }
  held.too_many = count;
  held.too_many_at = now;
  return std::nullopt;
}

// All or none: blocks that nobody holds, or this worker holds and no session has a port of.
bool PortPool::take_for_vm(ExternalIndex external, unsigned first, unsigned count) {
  std::uint64_t assigned = 0;
  const auto undo = [&] {
    for (std::uint64_t left = assigned; left != 0; left &= left - 1)
      ports_.give_back(external, first + static_cast<unsigned>(std::countr_zero(left)));
    return false;
  };
  for (unsigned i = 0; i < count; ++i) {
    if (is_held(external, first + i)) {
      if (is_of_vm(external, first + i) || !is_empty(external, first + i)) return undo();
    } else if (ports_.assign(external, first + i, worker_)) {
      assigned |= std::uint64_t{1} << i;
    } else {
      return undo();
    }
  }
  for (unsigned block = first; block < first + count; ++block) {
    held_[external].of_vms[block / 64] |= std::uint64_t{1} << (block % 64);
    if (is_held(external, block)) --held_[external].count;  // hold() counts it again
    hold(external, block);
  }
  return true;
}

void PortPool::give_back(const VmBlock& block) {
  held_[block.external].too_many = 0;
  for (unsigned i = 0; i < block.count; ++i) give_back(block.external, block.first + i);
  if (held_[block.external].count == 0) hold_another(block.external);
}

std::optional<net::L4Port> PortPool::allocate_of(const VmBlock& block, PortSpace space, net::L4Port wanted,
                                                 Resting resting, Time now) {
  const ExternalIndex external = block.external;
  const auto free_ports = [&](unsigned of) {
    const PortBlock& words = current_block(external, space, of, rest_period(now));
    const std::uint64_t free = free_in(external, space, of);
    return resting == Resting::Too ? free : free & ~(words.resting | words.rested);
  };
  const unsigned wanted_block = wanted.host() / kBlockPorts;
  if (wanted_block - block.first < block.count && (free_ports(wanted_block) >> (wanted.host() % kBlockPorts) & 1) != 0) {
    mark_used(external, space, wanted.host());
    return wanted;
  }
  const std::uint64_t random = random_.next();
  for (unsigned i = 0; i < block.count; ++i) {
    const unsigned of = block.first + static_cast<unsigned>((random >> 32) + i) % block.count;
    const std::uint64_t free = free_ports(of);
    if (free == 0) continue;
    const net::L4Port port = random_port_of(of, free, random);
    mark_used(external, space, port.host());
    return port;
  }
  return std::nullopt;
}

bool PortPool::has_rested(const VmBlock& block, Time now) {
  for (unsigned of = block.first; of < block.first + block.count; ++of) {
    for (unsigned space = 0; space < kPortSpaces; ++space) {
      const PortBlock& words = current_block(block.external, static_cast<PortSpace>(space), of, rest_period(now));
      if ((words.used | words.resting | words.rested) != 0) return false;
    }
  }
  return true;
}

}  // namespace vmnat::conntrack
