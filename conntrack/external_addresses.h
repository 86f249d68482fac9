// SPDX-License-Identifier: Apache-2.0
// ExternalAddresses: which external addresses there are, under which index, and which of their ports may be
// given out.
//
// Immutable. Control makes a new one for every change and publishes it with the forwarding state; each worker
// goes over to it between two polls (Conntrack::follow). So nothing here changes under a worker, and what
// follows from it, like the sets of open blocks, is brought up to date at one place (PortPool::follow).
//
//   index   address       ports
//     0     203.0.113.2   1024-65535 but 8080, which is forwarded
//     1     -             a hole: the address was removed; a later one may have the index
//     2     203.0.113.9   none: it is draining. Its sessions go on, and its mappings serve their endpoints
//
// An address keeps its index as long as it is there. An index is given to another address only after every
// worker has gone over to a table without the former one, whose sessions have ended before.
//
// One of the addresses may be rented: a DHCP server gives it for a while (`uplink.address: dhcp`). It has its
// index and its ports from the start, and stands as 0.0.0.0, which is nobody's, while there is no lease.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/fibonacci_hash.h"
#include "conntrack/policy.h"

namespace vmnat::conntrack {

inline constexpr unsigned kBlockPorts = 64;
inline constexpr unsigned kPortBlocks = 65536 / kBlockPorts;  // of an address
inline constexpr unsigned kBlockWords = kPortBlocks / 64;     // words of a set of blocks

using BlockSet = std::array<std::uint64_t, kBlockWords>;  // a bit a block

// Ports of an address that may be given out. Addresses that have the same share one object of 8 KiB.
class AllowedPorts {
 public:
  AllowedPorts() = default;  // none
  AllowedPorts(std::uint16_t first, std::uint16_t last, std::span<const std::uint16_t> reserved);
  // Those that are in both.
  static AllowedPorts common(const AllowedPorts& a, const AllowedPorts& b);

  // Bit i is port 64 * block + i.
  [[nodiscard]] std::uint64_t in(unsigned block) const { return words_[block]; }
  [[nodiscard]] bool contains(net::L4Port port) const {
    return in(port.host() / kBlockPorts) >> (port.host() % kBlockPorts) & 1;
  }
  // Blocks with a port that may be given out.
  [[nodiscard]] const BlockSet& blocks() const { return blocks_; }
  [[nodiscard]] unsigned block_count() const { return block_count_; }
  bool operator==(const AllowedPorts&) const = default;

 private:
  void count_blocks();

  std::array<std::uint64_t, kPortBlocks> words_{};
  BlockSet blocks_{};
  unsigned block_count_ = 0;
};

// An address as it is written down.
struct ExternalAddress {
  net::Ipv4Addr address;
  std::uint16_t first_port = 1024;
  std::uint16_t last_port = 65535;
  std::vector<std::uint16_t> reserved;  // never given out: forwards, the gateway's own services
};

class ExternalAddresses {
 public:
  struct Entry {
    net::Ipv4Addr address;                      // 0.0.0.0: rented, and not had at present
    std::shared_ptr<const AllowedPorts> ports;  // nullptr: a hole
    bool is_draining = false;                   // its `ports` are none
  };

  // By index; no address twice.
  explicit ExternalAddresses(std::vector<Entry> entries);
  // In this order. nullptr: none, more than kMaxExternalAddresses, an empty range, an address twice.
  static std::shared_ptr<const ExternalAddresses> of(std::span<const ExternalAddress> addresses);

  // All indices in use are below it.
  [[nodiscard]] unsigned size() const { return static_cast<unsigned>(entries_.size()); }
  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }
  [[nodiscard]] std::optional<ExternalIndex> index_of(net::Ipv4Addr address) const {
    for (std::size_t at = slot(address); slots_[at].is_used; at = (at + 1) & mask_)
      if (slots_[at].address == address) return slots_[at].index;
    return std::nullopt;
  }

  // nullptr: a hole, or beyond the end.
  [[nodiscard]] const AllowedPorts* ports(unsigned index) const {
    return index < size() ? entries_[index].ports.get() : nullptr;
  }
  [[nodiscard]] net::Ipv4Addr address(unsigned index) const {
    return index < size() ? entries_[index].address : net::Ipv4Addr{};
  }

  // Of an address that is there.
  [[nodiscard]] std::uint64_t allowed(ExternalIndex external, unsigned block) const {
    return entries_[external].ports->in(block);
  }
  [[nodiscard]] bool is_allowed(ExternalIndex external, net::L4Port port) const {
    return entries_[external].ports->contains(port);
  }
  [[nodiscard]] bool is_draining(ExternalIndex external) const { return entries_[external].is_draining; }

 private:
  struct Slot {  // of a hash table with open addressing, at most half full
    net::Ipv4Addr address;
    ExternalIndex index = 0;
    bool is_used = false;
  };
  [[nodiscard]] std::size_t slot(net::Ipv4Addr address) const {
    return fibonacci_hash(address.host()) & mask_;
  }

  std::vector<Entry> entries_;
  std::vector<Slot> slots_;
  std::size_t mask_;
};

}  // namespace vmnat::conntrack
