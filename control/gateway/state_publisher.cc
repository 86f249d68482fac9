// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/state_publisher.h"

namespace vmnat::control {

StatePublisher::StatePublisher(dataplane::ForwardingState first, std::span<dataplane::Doorbell> doorbells)
    : doorbells_(doorbells) {
  publish(std::move(first));
}

void StatePublisher::publish(dataplane::ForwardingState next) {
  next.generation = states_.empty() ? 1 : states_.back()->generation + 1;
  states_.push_back(std::make_unique<const dataplane::ForwardingState>(std::move(next)));
  // Pairs with the workers' acquire load at the start of a poll.
  published_.store(states_.back().get(), std::memory_order_release);
  for (dataplane::Doorbell& doorbell : doorbells_) doorbell.ring();
}

void StatePublisher::reclaim(std::uint64_t least_seen) {
  while (states_.size() > 1 && states_.front()->generation < least_seen) states_.pop_front();
}

}  // namespace vmnat::control
