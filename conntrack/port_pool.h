// SPDX-License-Identifier: Apache-2.0
// PortPool: gives out one worker's external ports, one by one, from the blocks that the worker holds.
//
// A freed port rests for 120 to 240 s before it is given to another session (RFC 6888 REQ-8). A port that is
// free and does not rest is open. All sets of blocks are bit sets of 16 words, so every step is a rotated bit
// scan and costs the same at any fill. The order of preference for a new port of one address:
//
//   1. the internal port itself, if it is open (RFC 4787 section 4.2.1 allows it, it surprises least), unless
//      another worker is the home of its block,
//   2. a random open port of a random held block (RFC 6056), preferably of a block that is at home here; some
//      blocks are held ahead of need, so that there are a thousand ports to choose from,
//   3. the same, after one more block has been assigned,
//   4. a port that still rests: that is better than to refuse the flow.
//
// When the last port of a block is freed, the block is given back, if other workers could use it, or none of
// its ports may be given out any more.
//
// Some blocks, side by side, may be one VM's (vm_blocks.h): nobody else's ports are of them, and they are given back
// together, by whoever has taken them.
#pragma once

#include <bit>

#include "base/counter.h"
#include "base/ids.h"
#include "base/random.h"
#include "base/time.h"
#include "conntrack/external_ports.h"
#include "conntrack/hash.h"
#include "conntrack/vm_blocks.h"

namespace vmnat::conntrack {

inline constexpr Ticks kRest = std::chrono::seconds(120);  // RFC 6888 REQ-8
// Periods of rest since start; 1 is the first, so that a block never used is out of date and at rest.
inline std::uint64_t rest_period(Time now) {
  return now.time_since_epoch() / kRest + 1;
}

class PortPool {
 public:
  PortPool(ExternalPorts& ports, const ExternalAddresses& addresses, WorkerIndex worker, std::uint64_t seed);
  [[nodiscard]] bool reserved() const { return held_.reserved() && spaces_.reserved(); }

  // Goes over to another table of addresses; the former one is still there. No port of an address that goes,
  // or changes its value, has a session any more. A port that may no longer be given out stays with its
  // sessions until they end.
  void follow(const ExternalAddresses& addresses);

  struct Wish {
    net::L4Port internal;    // the port to preserve; 0: none
    net::L4Port probable{};  // from probable(): the second choice, if it is still open
  };
  // A port that no session has; nothing when this worker can get none of the address.
  std::optional<net::L4Port> allocate(ExternalIndex external, PortSpace space, Wish wish, Time now);
  // A port that allocate() would probably give. Takes nothing.
  std::optional<net::L4Port> probable(ExternalIndex external, PortSpace space, net::L4Port internal);
  void release(ExternalIndex external, PortSpace space, net::L4Port port, Time now);
  // Takes exactly this port (static forwards). False: it is used, not allowed, or another worker's.
  bool take(ExternalIndex external, PortSpace space, net::L4Port port);
  // The same for a session of an earlier process: the port does not have to be one that may be given out.
  bool take_again(ExternalIndex external, PortSpace space, net::L4Port port);

  // Takes `count` blocks side by side, on a multiple of it, for a VM: those that begin with `first`, or any; rather such
  // as have no port that may not be given out. Answers the first. Nothing: there are none.
  std::optional<unsigned> take_for_vm(ExternalIndex external, unsigned count, Time now);
  bool take_for_vm(ExternalIndex external, unsigned first, unsigned count);
  void give_back(const VmBlock& block);
  // A port of the VM's block that no session has. Resting ones only where `resting` says so. probable_of() takes nothing.
  enum class Resting : bool { No, Too };
  std::optional<net::L4Port> allocate_of(const VmBlock& block, PortSpace space, Wish wish, Resting resting,
                                         Time now);
  std::optional<net::L4Port> probable_of(const VmBlock& block, PortSpace space, Wish wish, Resting resting,
                                         Time now);
  // No session has a port of it, and none rests.
  bool has_rested(const VmBlock& block, Time now);
  // `visit(block)` of each block of the address that is a VM's; it may be given back.
  template <typename Visitor>
  void for_each_of_vm(ExternalIndex external, Visitor visit) const {
    for (unsigned word = 0; word < kBlockWords; ++word)
      for (std::uint64_t left = held_[external].of_vms[word]; left != 0; left &= left - 1)
        visit(word * 64 + static_cast<unsigned>(std::countr_zero(left)));
  }
  [[nodiscard]] bool is_of_vm(ExternalIndex external, unsigned block) const {
    return (held_[external].of_vms[block / 64] >> (block % 64)) & 1;
  }

  // Before sessions of an earlier process go on: each worker's ports are in blocks of their own, which nobody
  // may hold by chance. hold_one_each() follows, when they all have theirs.
  void let_go();
  // A block of each address, if there is any left: a worker without one could not even overload.
  void hold_one_each();

  // Any port of the held blocks that may be given out, whether it is used or not.
  [[nodiscard]] std::optional<net::L4Port> random_held(ExternalIndex external, std::uint64_t random) const;
  // One of the ports of the block that are set in `ports`, which is not 0.
  static unsigned random_bit(std::uint64_t word, std::uint64_t random);  // of those that are set; not 0
  static net::L4Port random_port_of(unsigned block, std::uint64_t ports, std::uint64_t random);

  [[nodiscard]] const BlockSet& held(ExternalIndex external) const { return held_[external].blocks; }
  [[nodiscard]] bool is_held(ExternalIndex external, unsigned block) const {
    return (held_[external].blocks[block / 64] >> (block % 64)) & 1;
  }
  // Ports with sessions; any thread.
  [[nodiscard]] std::uint32_t used(ExternalIndex external, PortSpace space) const {
    return static_cast<std::uint32_t>(space_of(external, space).used.get());
  }
  [[nodiscard]] std::size_t memory_used() const { return held_.memory_used() + spaces_.memory_used(); }
  // Every count and set against the blocks themselves; for tests and debugging.
  [[nodiscard]] bool check_invariants() const;

 private:
  struct Held {
    BlockSet blocks;
    BlockSet of_vms;  // of them, those that are VMs'
    std::uint32_t count;
    // So many blocks side by side were not to be had: not tried again in the same tick.
    std::uint32_t too_many;
    Time too_many_at;
  };
  struct Space {                     // of one address and protocol
    BlockSet open;                   // blocks with an open port
    BlockSet resting;                // blocks with a resting port
    BlockSet vms_open, vms_resting;  // the same of blocks that are VMs'; those above have none of them
    std::uint64_t period;
    Counter used;
  };

  [[nodiscard]] const Space& space_of(ExternalIndex external, PortSpace space) const {
    return spaces_[external * kPortSpaces + static_cast<unsigned>(space)];
  }
  Space& space_of(ExternalIndex external, PortSpace space) {
    return spaces_[external * kPortSpaces + static_cast<unsigned>(space)];
  }
  [[nodiscard]] bool is_anyones(ExternalIndex external, unsigned block) const {
    return is_held(external, block) && !is_of_vm(external, block);
  }
  [[nodiscard]] std::uint64_t free_in(ExternalIndex external, PortSpace space, unsigned block) const;
  bool preserve(ExternalIndex external, PortSpace space, net::L4Port wanted, std::uint64_t period);
  [[nodiscard]] bool is_used(ExternalIndex external, PortSpace space, net::L4Port port) const;
  [[nodiscard]] bool is_free(ExternalIndex external, PortSpace space, net::L4Port port) const;
  [[nodiscard]] bool is_open(ExternalIndex external, PortSpace space, net::L4Port port) const;
  std::optional<net::L4Port> find_open(ExternalIndex external, PortSpace space);
  std::optional<net::L4Port> random_open(ExternalIndex external, PortSpace space);
  std::optional<net::L4Port> find_resting(ExternalIndex external, PortSpace space);
  void end_rest(ExternalIndex external, PortSpace space, std::uint64_t period);
  void hold(ExternalIndex external, unsigned block);
  bool hold_another(ExternalIndex external);
  void hold_ahead(ExternalIndex external, PortSpace space);
  [[nodiscard]] bool is_empty(ExternalIndex external, unsigned block) const;
  void give_back_if_empty(ExternalIndex external, unsigned block);
  void give_back(ExternalIndex external, unsigned block);
  void follow_ports(ExternalIndex external, const AllowedPorts& before, const AllowedPorts& now);
  void leave(ExternalIndex external);
  [[nodiscard]] BlockSet blocks_at_home(ExternalIndex external) const;
  void note_block(ExternalIndex external, PortSpace space, unsigned block);
  PortBlock& current_block(ExternalIndex external, PortSpace space, unsigned block, std::uint64_t period);
  [[nodiscard]] bool check_invariants(ExternalIndex external, PortSpace space) const;
  void mark_used(ExternalIndex external, PortSpace space, unsigned port);
  [[nodiscard]] bool may_hold_for(ExternalIndex external, net::L4Port wanted) const;
  [[nodiscard]] bool has_less_than_its_share(ExternalIndex external) const;

  ExternalPorts& ports_;
  const ExternalAddresses* addresses_;
  WorkerIndex worker_;
  const BlockSet& home_;
  Random random_;
  ReservedArray<Held> held_;
  ReservedArray<Space> spaces_;
};

}  // namespace vmnat::conntrack
