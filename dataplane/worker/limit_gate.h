// SPDX-License-Identifier: Apache-2.0
// LimitGate: whether, and how many, frames may come from a port that has a limit of what it sends.
//
// What may not come yet stays where it is, in the guest's own ring or the socket's: the guest's queueing discipline
// and TCP see a slow link, nothing is lost, and the worker's other ports are not kept waiting. Where ports share a limit
// that they use up, they have turns (fair_turns.h): one VM's flood leaves the others their share.
//
// A poll may take as many full frames as the limit has bytes left, and one more; what they were too much is a debt.
// So the excess over a burst is a super-frame or two, and the rate is exact.
//
// Owned by a worker.
#pragma once

#include <cstdint>
#include <rte_mbuf.h>
#include <span>
#include <utility>

#include "base/ids.h"
#include "dataplane/context/fair_turns.h"
#include "dataplane/context/forwarding_state.h"
#include "dataplane/context/limits.h"

namespace vmnat::dataplane {

class LimitGate {
 public:
  explicit LimitGate(std::size_t most_ports) : turns_(most_ports) {}
  [[nodiscard]] bool has_memory() const { return turns_.has_memory(); }

  // Of at most `most` frames, how many the port may send now; 0: none.
  [[gnu::cold]] unsigned room(const PortLimits& limits, PortIndex port, std::uint64_t tsc, unsigned most);
  // These have come from the port in this poll, with settled claims; and there may be more.
  struct Arrival {
    PortIndex port = 0;
    std::span<rte_mbuf* const> frames;
    bool has_more = false;
  };
  [[gnu::cold]] void charge(const ForwardingState& state, const PortLimits& limits, const Arrival& arrival,
                            std::uint64_t tsc);
  // All queues have been polled. True: who had no turn may have one now.
  bool end_turn() {
    is_holding_ = std::exchange(has_held_, false);
    return turns_.end_turn();
  }
  // There are no limits any more.
  void end_holding() { has_held_ = is_holding_ = false; }
  // Some port was held in the turn before: nothing tells when its time comes.
  [[nodiscard]] bool is_holding() const { return is_holding_; }

 private:
  static unsigned room_of(const Limit& limit, std::uint64_t tsc, unsigned most);
  unsigned shared_room(const PortLimits& limits, PortIndex port, FairTurns::Sharing sharing,
                       std::uint64_t tsc, unsigned most);
  void take_turn(const PortLimits& limits, const Arrival& arrival, FairTurns::Sharing sharing,
                 std::uint64_t bytes);
  FairTurns turns_;
  bool has_held_ = false, is_holding_ = false;
};

}  // namespace vmnat::dataplane
