// SPDX-License-Identifier: Apache-2.0
// StatePublisher: hands immutable ForwardingStates to the workers and frees those that no worker uses.
//
// A worker that has finished a poll with generation g will never look at an older state again; so a state
// may be freed when the least generation seen by all workers is above its own.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <span>

#include "dataplane/context/forwarding_state.h"
#include "dataplane/device/doorbell.h"

namespace vmnat::control {

class StatePublisher {
 public:
  // `doorbells`: of workers that sleep, woken for each state. They outlive it.
  explicit StatePublisher(dataplane::ForwardingState first, std::span<dataplane::Doorbell> doorbells = {});

  // What workers load, with acquire order, at the start of every poll.
  [[nodiscard]] const std::atomic<const dataplane::ForwardingState*>& published() const { return published_; }
  [[nodiscard]] const dataplane::ForwardingState& current() const { return *states_.back(); }
  void publish(dataplane::ForwardingState next);
  // `least_seen`: the least generation that every worker has finished a poll with.
  void reclaim(std::uint64_t least_seen);
  [[nodiscard]] std::size_t held() const { return states_.size(); }

 private:
  std::span<dataplane::Doorbell> doorbells_;
  std::deque<std::unique_ptr<const dataplane::ForwardingState>> states_;  // oldest first; the last is current
  std::atomic<const dataplane::ForwardingState*> published_{nullptr};
};

}  // namespace vmnat::control
