// SPDX-License-Identifier: Apache-2.0
// ExternalPorts: the external addresses, and which worker gives out which of their ports. All workers share
// it.
//
// Each address has 1024 blocks of 64 ports. A block is assigned to one worker, for all protocols, and only
// that worker allocates in it. So two workers never choose the same external endpoint, and need no lock.
// Assigning a block, or giving it back, is one atomic operation on the block's bit, once in up to 64 x 3
// ports. Finding a port's `owner()`, asked for each inbound frame where there are several workers, is one
// relaxed load.
//
//   owner map, one byte a block:  203.0.113.2: | 0xff x 16 (ports below 1024) | 0 | 0 | 1 | 0xff | 1 | ...
//
// A worker holds the blocks that are assigned to it. Only the holder reads and writes a block's words
// (`block()`): the acquire of an assignment pairs with the release of the holder before. Protocols without
// ports have no blocks; their sessions belong to `portless_owner`.
//
// Some NICs deliver all replies to a port to one and the same queue. The home of a block is the worker that
// polls that queue. A block is assigned to another worker only when nothing else is left; its replies then
// cross between workers, as they do behind any other NIC.
//
// One of the addresses may be rented: a DHCP server gives it for a while (`uplink.address: dhcp`). A rented
// address is listed as 0.0.0.0. It has its ports and its index from the start; `set_rented` gives it a value,
// and another one later.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/fibonacci_hash.h"
#include "base/ids.h"
#include "conntrack/policy.h"
#include "conntrack/reserved_array.h"

namespace vmnat::conntrack {

struct ExternalAddress {
  net::Ipv4Addr address;
  std::uint16_t first_port = 1024;
  std::uint16_t last_port = 65535;
  std::vector<std::uint16_t> reserved;  // never given out: forwards, the gateway's own services
};

// Bit i of a word is port 64 * block + i.
struct PortBlock {
  std::uint64_t used;     // at least one session has this external port
  std::uint64_t resting;  // freed in the current quarantine period (RFC 6888 REQ-8)
  std::uint64_t rested;   // freed in the one before
  std::uint64_t period;   // in which the two words above were brought up to date
};

class ExternalPorts {
 public:
  static constexpr unsigned kBlockPorts = 64;
  static constexpr unsigned kBlocks = 65536 / kBlockPorts;
  static constexpr unsigned kBlockWords = kBlocks / 64;  // words of a set of blocks

  using BlockSet = std::array<std::uint64_t, kBlockWords>;  // a bit a block

  // nullptr: no address, more than kMaxExternalAddresses, an empty range, an address twice, no worker, more
  // than 254 workers, a home that is none of them, or no memory. `homes` names the home of each of the
  // kBlocks blocks, on all addresses alike; empty: no block has a home. Called by control. Outlives its
  // workers.
  static std::unique_ptr<ExternalPorts> create(std::span<const ExternalAddress> addresses, unsigned workers,
                                               std::span<const WorkerIndex> homes = {});

  // Sets the value of the rented address; 0.0.0.0: it has none. For control, while no session has the former
  // value and no worker opens sessions: every worker has seen a ForwardingState that forbids it, and the
  // state that allows it again is published afterwards.
  void set_rented(net::Ipv4Addr address) {
    addresses_[rented_].store(address.raw(), std::memory_order_relaxed);
  }
  // Unspecified: none is rented at present.
  [[nodiscard]] net::Ipv4Addr rented() const {
    return rented_ == kNoIndex ? net::Ipv4Addr{} : address(rented_);
  }

  [[nodiscard]] unsigned address_count() const { return static_cast<unsigned>(block_counts_.size()); }
  [[nodiscard]] unsigned worker_count() const { return workers_; }
  [[nodiscard]] net::Ipv4Addr address(ExternalIndex external) const {
    return net::Ipv4Addr::from_raw(addresses_[external].load(std::memory_order_relaxed));
  }
  [[nodiscard]] std::optional<ExternalIndex> index_of(net::Ipv4Addr address) const;

  // Blocks with a port that may be given out.
  [[nodiscard]] unsigned block_count(ExternalIndex external) const { return block_counts_[external]; }

  // The worker that allocates in the port's block, or kNoWorker.
  [[nodiscard]] WorkerIndex owner(ExternalIndex external, net::L4Port port) const {
    return owners_[external * kBlocks + port.host() / kBlockPorts].load(std::memory_order_relaxed);
  }
  // Of protocols without ports: all sessions with a remote belong to one worker. Frames of both directions
  // name it by the remote's address.
  [[nodiscard]] WorkerIndex portless_owner(net::Ipv4Addr remote) const {
    return static_cast<WorkerIndex>((hash_of(remote) >> 16) % workers_);
  }

  // The blocks whose home is this worker; all blocks, where it is the home of none.
  [[nodiscard]] const BlockSet& home_of(WorkerIndex worker) const { return homes_[worker]; }

  // For workers, a block that nobody holds: any, preferably one that is at home; one that is at home; or the
  // one that is named. `salt` is random and makes each block in question equally likely (RFC 6056).
  std::optional<unsigned> assign_any(ExternalIndex external, WorkerIndex worker, std::uint64_t salt);
  std::optional<unsigned> assign_at_home(ExternalIndex external, WorkerIndex worker, std::uint64_t salt) {
    return assign_among(homes_[worker], external, worker, salt);
  }
  bool assign(ExternalIndex external, unsigned block, WorkerIndex worker);
  void give_back(ExternalIndex external, unsigned block);

  // For the holder of the block.
  PortBlock& block(ExternalIndex external, PortSpace space, unsigned block) {
    return blocks_[(external * kPortSpaces + static_cast<unsigned>(space)) * kBlocks + block];
  }
  [[nodiscard]] const PortBlock& block(ExternalIndex external, PortSpace space, unsigned block) const {
    return blocks_[(external * kPortSpaces + static_cast<unsigned>(space)) * kBlocks + block];
  }
  // Ports of the block that may be given out at all.
  [[nodiscard]] std::uint64_t allowed(ExternalIndex external, unsigned block) const {
    return allowed_[external * kBlocks + block];
  }
  [[nodiscard]] std::size_t memory_used() const {
    return owners_.memory_used() + unassigned_.memory_used() + allowed_.memory_used() + blocks_.memory_used();
  }
  [[nodiscard]] bool is_allowed(ExternalIndex external, net::L4Port port) const {
    return allowed(external, port.host() / kBlockPorts) >> (port.host() % kBlockPorts) & 1;
  }

 private:
  static constexpr std::uint16_t kNoIndex = 0xffff;
  static std::uint32_t hash_of(net::Ipv4Addr address) { return fibonacci_hash(address.host()); }

  ExternalPorts() = default;
  bool reserve(std::size_t addresses);
  bool add(const ExternalAddress& address);
  void allow_ports(ExternalIndex external, const ExternalAddress& address);
  void set_homes(std::span<const WorkerIndex> homes);
  std::optional<unsigned> assign_among(const BlockSet& blocks, ExternalIndex external, WorkerIndex worker,
                                       std::uint64_t salt);

  unsigned workers_ = 0;
  std::vector<BlockSet> homes_;                          // by worker
  ReservedArray<std::atomic<std::uint32_t>> addresses_;  // raw
  std::vector<std::uint16_t> block_counts_;
  std::vector<std::uint16_t> index_by_hash_;  // open addressing, at most half full; kNoIndex: empty
  ExternalIndex rented_ = kNoIndex;           // is not in the hash table
  ReservedArray<std::atomic<WorkerIndex>> owners_;
  ReservedArray<std::atomic<std::uint64_t>> unassigned_;  // bit per block
  ReservedArray<std::uint64_t> allowed_;
  ReservedArray<PortBlock> blocks_;
};

}  // namespace vmnat::conntrack
