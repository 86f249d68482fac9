// SPDX-License-Identifier: Apache-2.0
// WorkerFlush: every worker ends the sessions that a selector names, or moves them to another port, bit by bit,
// while control goes on.
//
// One flush is under way at a time, for the workers' boxes hold one request each; the others wait for their
// turn. A flush that is destroyed before its end gives its turn back, and the workers finish what it began.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "control/gateway/workers.h"

namespace vmnat::control {

// The turn to flush, which one at a time may have.
class FlushTurns {
 public:
  struct Turn {};
  // nullptr while somebody has the turn. It is given back with the pointer.
  std::shared_ptr<const Turn> take();

 private:
  std::weak_ptr<const Turn> taken_;
};

class WorkerFlush {
 public:
  // Both outlive it.
  WorkerFlush(Workers& workers, FlushTurns& turns, const dataplane::SessionSelector& selector,
              std::optional<PortIndex> destination = {})
      : workers_(workers), turns_(turns), selector_(selector), destination_(destination) {}

  // How many sessions it was, once all workers are done. Called again and again until then.
  std::optional<std::uint64_t> poll();

 private:
  bool ask();

  Workers& workers_;
  FlushTurns& turns_;
  dataplane::SessionSelector selector_;
  std::optional<PortIndex> destination_;
  std::shared_ptr<const FlushTurns::Turn> turn_;  // once it has come
  std::vector<std::uint64_t> tickets_;            // by worker, once they were asked
};

}  // namespace vmnat::control
