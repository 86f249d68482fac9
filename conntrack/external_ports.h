// SPDX-License-Identifier: Apache-2.0
// ExternalPorts: which worker gives out which ports of the external addresses. All workers share it.
//
// Each address has 1024 blocks of 64 ports. A block is assigned to one worker, for all protocols, and only
// that worker allocates in it. So two workers never choose the same external endpoint, and need no lock.
// Assigning a block, or giving it back, is one atomic operation on the block's bit, once in up to 64 x 3
// ports. Finding a port's `owner()`, asked for each inbound frame where there are several workers, is one
// relaxed load.
//
//   owner map, one byte a block:  203.0.113.2: | none x 16 (ports below 1024) | 0 | 0 | 1 | none | 1 | ...
//
// A worker holds the blocks that are assigned to it. Only the holder reads and writes a block's words
// (`block()`): the acquire of an assignment pairs with the release of the holder before. Protocols without
// ports have no blocks; their sessions belong to `portless_owner`.
//
// Some NICs deliver all replies to a port to one and the same queue. The home of a block is the worker that
// polls that queue. A block is assigned to another worker only when nothing else is left; its replies then
// cross between workers, as they do behind any other NIC.
//
// Which addresses there are, and which of their ports may be given out, may change: external_addresses.h says
// it. Here is room for more of them than there are, by index. What has been reserved for an index without an
// address is all zero and untouched: no block is assigned, no port used. So an address that comes needs
// nothing, and one that goes leaves the same behind once all workers have given its blocks back.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/fibonacci_hash.h"
#include "base/ids.h"
#include "conntrack/external_addresses.h"
#include "conntrack/reserved_array.h"

namespace vmnat::conntrack {

// Bit i of a word is port 64 * block + i.
struct PortBlock {
  std::uint64_t used;     // at least one session has this external port
  std::uint64_t resting;  // freed in the current quarantine period (RFC 6888 REQ-8)
  std::uint64_t rested;   // freed in the one before
  std::uint64_t period;   // in which the two words above were brought up to date
};

class ExternalPorts {
 public:
  // nullptr: room for no address or more than kMaxExternalAddresses, no worker, more than 254 workers, a home
  // that is none of them, or no memory. `homes` names the home of each of the kPortBlocks blocks, on all
  // addresses alike; empty: no block has a home. Called by control. Outlives its workers.
  static std::unique_ptr<ExternalPorts> create(unsigned capacity, unsigned workers,
                                               std::span<const WorkerIndex> homes = {});

  // Every ExternalIndex is below it.
  [[nodiscard]] unsigned capacity() const { return capacity_; }
  [[nodiscard]] unsigned worker_count() const { return workers_; }

  // The worker that allocates in the port's block, or kNoWorker.
  [[nodiscard]] WorkerIndex owner(ExternalIndex external, net::L4Port port) const {
    const std::uint8_t stored =
        owners_[external * kPortBlocks + port.host() / kBlockPorts].load(std::memory_order_relaxed);
    return static_cast<WorkerIndex>(stored - 1);
  }
  // Of protocols without ports: all sessions with a remote belong to one worker. Frames of both directions
  // name it by the remote's address.
  [[nodiscard]] WorkerIndex portless_owner(net::Ipv4Addr remote) const {
    return static_cast<WorkerIndex>((fibonacci_hash(remote.host()) >> 16) % workers_);
  }

  // The blocks whose home is this worker; all blocks, where it is the home of none.
  [[nodiscard]] const BlockSet& home_of(WorkerIndex worker) const { return homes_[worker]; }

  // For workers, a block of `among` that nobody holds, each equally likely (RFC 6056): `salt` is random. Or
  // the one that is named.
  std::optional<unsigned> assign_among(const BlockSet& among, ExternalIndex external, WorkerIndex worker,
                                       std::uint64_t salt);
  bool assign(ExternalIndex external, unsigned block, WorkerIndex worker);
  void give_back(ExternalIndex external, unsigned block);

  // For the holder of the block.
  PortBlock& block(ExternalIndex external, PortSpace space, unsigned block) {
    return blocks_[(external * kPortSpaces + static_cast<unsigned>(space)) * kPortBlocks + block];
  }
  [[nodiscard]] const PortBlock& block(ExternalIndex external, PortSpace space, unsigned block) const {
    return blocks_[(external * kPortSpaces + static_cast<unsigned>(space)) * kPortBlocks + block];
  }

  // Gives pages to the words of the first addresses, so that workers need not touch them first.
  void populate(unsigned addresses);
  [[nodiscard]] std::size_t memory_used() const {
    return owners_.memory_used() + assigned_.memory_used() + blocks_.memory_used();
  }

 private:
  ExternalPorts() = default;
  void set_homes(std::span<const WorkerIndex> homes);

  unsigned capacity_ = 0;
  unsigned workers_ = 0;
  std::vector<BlockSet> homes_;                         // by worker
  ReservedArray<std::atomic<std::uint8_t>> owners_;     // worker + 1; 0: nobody's
  ReservedArray<std::atomic<std::uint64_t>> assigned_;  // bit per block
  ReservedArray<PortBlock> blocks_;
};

static_assert(kNoWorker == static_cast<WorkerIndex>(0 - 1), "an owner that is stored as 0 is nobody");

}  // namespace vmnat::conntrack
