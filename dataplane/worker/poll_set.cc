// SPDX-License-Identifier: Apache-2.0
// What control does to make a set, and a worker once to take it over.
#include "dataplane/worker/poll_set.h"

#include <numeric>

namespace vmnat::dataplane {

PollSet::PollSet(std::vector<ReceiveQueue> queues, Sharers sharers)
    : order_(queues.size()), active_(queues.size()), has_idle_(queues.size() > kFew), sharers_(sharers) {
  std::ranges::sort(queues, {}, &ReceiveQueue::rank);
  for (const ReceiveQueue& queue : queues) queues_.push_back({.queue = queue});
  std::iota(order_.begin(), order_.end(), std::uint16_t{0});
}

void PollSet::take_debts_of(PollSet& before) {
  for (const PolledQueue& queue : before.queues_)
    if (PolledQueue* const same = find_same(queues_, queue)) same->share = queue.share;
}

}  // namespace vmnat::dataplane
