// SPDX-License-Identifier: Apache-2.0
// VmBlocks: which internal address has which blocks of external ports, where VMs get ports by the block
// (nat.block_allocation; RFC 6888 REQ-14, RFC 7422). Then a line when a block is given and one when it is returned say
// who had each of its ports, whatever number of sessions it has.
//
// A VM's block is 1 to 64 blocks of the port pool side by side (port_pool.h), on a multiple of their number:
//
//   block_allocation 512: 8 of them; 192.168.122.10 has 203.0.113.2: 40448-40959, then 12288-12799
//
// Here is only who has what. An internal address has a chain of them, the newest first, which an index finds.
//
// Threads: the worker that owns it, but for block_at(), which any may call.
#pragma once

#include <atomic>
#include <optional>

#include "base/ids.h"
#include "conntrack/external_addresses.h"
#include "conntrack/hash.h"
#include "conntrack/reserved_array.h"
#include "conntrack/tag_index.h"
#include "net/address.h"

namespace vmnat::conntrack {

// A VM's block, and the VM's port and network when it was given.
struct VmBlock {
  net::Ipv4Addr internal;
  ExternalIndex external = 0;
  unsigned first = 0;  // block of the pool
  unsigned count = 0;  // of them
  PortIndex vm_port = 0;
  std::uint16_t policy = 0;

  [[nodiscard]] net::L4Port first_port() const {
    return net::L4Port::from_host(static_cast<std::uint16_t>(first * kBlockPorts));
  }
  [[nodiscard]] std::uint16_t ports() const { return static_cast<std::uint16_t>(count * kBlockPorts); }
};

class VmBlocks {
 public:
  VmBlocks(unsigned addresses, std::uint64_t seed)
      : hash_(seed),
        owners_(std::size_t{addresses} * kPortBlocks),
        next_(std::size_t{addresses} * kPortBlocks),
        newest_(std::uint64_t{addresses} * kPortBlocks) {}
  [[nodiscard]] bool reserved() const { return owners_.reserved() && next_.reserved() && newest_.reserved(); }
  [[nodiscard]] std::size_t memory_used() const {
    return owners_.memory_used() + next_.memory_used() + newest_.memory_used();
  }

  // `visit(VmBlock)` of each that the internal address has, the newest first, until it answers true. Whether it did.
  template <typename Visitor>
  [[nodiscard]] bool find_of(net::Ipv4Addr internal, Visitor visit) const {
    for (std::uint32_t at = newest_of(internal); at != kNone; at = next_[at] - 1)
      if (visit(*block_at(at))) return true;
    return false;
  }
  // False: no room in the index.
  bool add(const VmBlock& block);
  void remove(const VmBlock& block);

  // The one that begins at the pool's block; nothing: none does. Any thread.
  [[nodiscard]] std::optional<VmBlock> block_at(ExternalIndex external, unsigned first) const {
    return block_at(place_of(external, first));
  }

 private:
  static constexpr std::uint32_t kNone = TagIndex::kNothing;
  static constexpr std::uint32_t place_of(ExternalIndex external, unsigned first) {
    return external * kPortBlocks + first;
  }
  // | internal address 32, VM port 16, policy 12, binary logarithm of the count plus 1: 4 |; 0: nobody's
  static std::uint64_t packed(const VmBlock& block);
  [[nodiscard]] std::optional<VmBlock> block_at(std::uint32_t place) const;
  [[nodiscard]] std::uint32_t newest_of(net::Ipv4Addr internal) const;
  [[nodiscard]] TagIndex::Place index_place(net::Ipv4Addr internal) const {
    return newest_.place_of(hash_({internal.raw(), 0}));
  }

  FlowHash hash_;
  ReservedArray<std::atomic<std::uint64_t>> owners_;  // by place
  ReservedArray<std::uint32_t> next_;  // likewise: the place of the next older one, plus 1; 0: none
  TagIndex newest_;                    // by internal address: the place of the newest one
};

}  // namespace vmnat::conntrack
