// SPDX-License-Identifier: Apache-2.0
// ExternalPorts: the external addresses and who may give out which of their ports; shared by all workers.
//
// Each address has 1024 blocks of 64 ports. A block is leased to one worker, for all protocols, and only
// that worker allocates in it: two workers can never choose the same external endpoint, without a lock.
// Leasing and giving back is one atomic operation on the block's bit and happens once in up to 64 x 3 ports;
// `owner()`, asked for each inbound frame of several workers, is one relaxed load.
//
//   owner map, one byte a block:  203.0.113.2: | 0xff x 16 (ports below 1024) | 0 | 0 | 1 | 0xff | 1 | ...
//
// Whoever holds a lease reads and writes the block's words (`block()`), nobody else; a lease's acquire pairs
// with the release of the worker that had it before. Protocols without ports belong to `portless_owner`.
//
// A NIC may bring the replies to some ports straight to one worker: those blocks are at home there, and
// leased to others only when nothing else is left. Replies to them then cross between workers, as without
// such a NIC.
//
// One of the addresses may be rented: what a DHCP server gives for a while. It is listed as 0.0.0.0, has its
// ports and its index from the start, and gets its value, and others later, by `set_rented`.
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

  // nullptr: no address, more than kMaxExternalAddresses, an empty range, an address twice, no worker or
  // more than 254, a home of none of them, or no memory. `homes`: of each of the kBlocks blocks, of all
  // addresses, the worker; empty: any block is as good as any other. Called by control; lasts as long as its
  // workers.
  static std::unique_ptr<ExternalPorts> create(std::span<const ExternalAddress> addresses, unsigned workers,
                                               std::span<const WorkerIndex> homes = {});

  // The rented address is this one from now on; 0.0.0.0: there is none. For control, while no session has the
  // one before and no worker opens any: each has seen a ForwardingState that forbids it, and the one that
  // allows it again is published after this.
  void set_rented(net::Ipv4Addr address) {
    addresses_[rented_].store(address.raw(), std::memory_order_relaxed);
  }

  [[nodiscard]] unsigned address_count() const { return static_cast<unsigned>(block_counts_.size()); }
  [[nodiscard]] unsigned worker_count() const { return workers_; }
  [[nodiscard]] net::Ipv4Addr address(ExternalIndex external) const {
    return net::Ipv4Addr::from_raw(addresses_[external].load(std::memory_order_relaxed));
  }
  [[nodiscard]] std::optional<ExternalIndex> index_of(net::Ipv4Addr address) const;

  // Blocks with any port to give.
  [[nodiscard]] unsigned block_count(ExternalIndex external) const { return block_counts_[external]; }

  // The worker that allocates in the port's block, or kNoWorker.
  [[nodiscard]] WorkerIndex owner(ExternalIndex external, net::L4Port port) const {
    return owners_[external * kBlocks + port.host() / kBlockPorts].load(std::memory_order_relaxed);
  }
  // Protocols without ports: all sessions with a remote are one worker's, so both ways find it by the frame.
  [[nodiscard]] WorkerIndex portless_owner(net::Ipv4Addr remote) const {
    return static_cast<WorkerIndex>((hash_of(remote) >> 16) % workers_);
  }

  // The blocks that the worker prefers; all for one that has none of its own.
  [[nodiscard]] const BlockSet& home_of(WorkerIndex worker) const { return homes_[worker]; }

  // For workers: any free block, one at home if there is any; one at home; or the one named. `salt` is
  // random: of the blocks that come into question each is as likely (RFC 6056).
  std::optional<unsigned> lease_any(ExternalIndex external, WorkerIndex worker, std::uint64_t salt);
  std::optional<unsigned> lease_at_home(ExternalIndex external, WorkerIndex worker, std::uint64_t salt) {
    return lease_among(homes_[worker], external, worker, salt);
  }
  bool lease(ExternalIndex external, unsigned block, WorkerIndex worker);
  void give_back(ExternalIndex external, unsigned block);

  // The holder's words of a leased block.
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
    return owners_.memory_used() + unleased_.memory_used() + allowed_.memory_used() + blocks_.memory_used();
  }
  [[nodiscard]] bool is_allowed(ExternalIndex external, net::L4Port port) const {
    return allowed(external, port.host() / kBlockPorts) >> (port.host() % kBlockPorts) & 1;
  }

 private:
  static constexpr std::uint16_t kNoIndex = 0xffff;
  static std::uint32_t hash_of(net::Ipv4Addr address) {
    return static_cast<std::uint32_t>(fibonacci_hash(address.host()) >> 32);
  }

  ExternalPorts() = default;
  bool reserve(std::size_t addresses);
  bool add(const ExternalAddress& address);
  void allow_ports(ExternalIndex external, const ExternalAddress& address);
  void settle_homes(std::span<const WorkerIndex> homes);
  std::optional<unsigned> lease_among(const BlockSet& blocks, ExternalIndex external, WorkerIndex worker,
                                      std::uint64_t salt);

  unsigned workers_ = 0;
  std::vector<BlockSet> homes_;                          // by worker
  ReservedArray<std::atomic<std::uint32_t>> addresses_;  // raw
  std::vector<std::uint16_t> block_counts_;
  std::vector<std::uint16_t> index_by_hash_;  // open addressing, at most half full; kNoIndex: empty
  ExternalIndex rented_ = kNoIndex;           // is not in the hash table
  ReservedArray<std::atomic<WorkerIndex>> owners_;
  ReservedArray<std::atomic<std::uint64_t>> unleased_;  // bit per block
  ReservedArray<std::uint64_t> allowed_;
  ReservedArray<PortBlock> blocks_;
};

}  // namespace vmnat::conntrack
