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

std::optional<net::L4Port> PortPool::probable_of(const VmBlock& block, PortSpace space, Wish wish,
                                                 Resting resting, Time now) {
  const ExternalIndex external = block.external;
  end_rest(external, space, rest_period(now));
  const auto free_ports = [&](unsigned of) {
    const PortBlock& words = current_block(external, space, of, rest_period(now));
    const std::uint64_t free = free_in(external, space, of);
    return resting == Resting::Too ? free : free & ~(words.resting | words.rested);
  };
  for (const net::L4Port wanted : {wish.internal, wish.probable}) {
    const unsigned of = wanted.host() / kBlockPorts;
    if (of - block.first < block.count && (free_ports(of) >> (wanted.host() % kBlockPorts) & 1) != 0)
      return wanted;
  }
  // It lies in one word of the sets.
  const Space& sets = space_of(external, space);
  const unsigned word = block.first / 64;
  const std::uint64_t its = ~std::uint64_t{0} >> (64 - block.count) << (block.first % 64);
  const std::uint64_t with_ports =
      (sets.vms_open[word] | (resting == Resting::Too ? sets.vms_resting[word] : 0)) & its;
  if (with_ports == 0) return std::nullopt;
  const std::uint64_t random = random_.next();
  const unsigned of = word * 64 + random_bit(with_ports, random >> 32);
  return random_port_of(of, free_ports(of), random);
}

std::optional<net::L4Port> PortPool::allocate_of(const VmBlock& block, PortSpace space, Wish wish,
                                                 Resting resting, Time now) {
  const auto port = probable_of(block, space, wish, resting, now);
  if (port) mark_used(block.external, space, port->host());
  return port;
}

bool PortPool::has_rested(const VmBlock& block, Time now) {
  for (unsigned of = block.first; of < block.first + block.count; ++of) {
    for (unsigned space = 0; space < kPortSpaces; ++space) {
      const PortBlock& words =
          current_block(block.external, static_cast<PortSpace>(space), of, rest_period(now));
      if ((words.used | words.resting | words.rested) != 0) return false;
    }
  }
  return true;
}

}  // namespace vmnat::conntrack
