// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/worker_flush.h"

#include "control/gateway/launch.h"

namespace vmnat::control {

std::optional<std::uint64_t> WorkerFlush::poll() {
  if (tickets_.empty() && !ask()) return std::nullopt;
  std::uint64_t flushed = 0;
  for (std::size_t i = 0; i < tickets_.size(); ++i) {
    const auto answer = box(i).answer_to(tickets_[i]);
    if (!answer) return std::nullopt;
    flushed += *answer;
  }
  return flushed;
}

dataplane::FlushBox& WorkerFlush::box(std::size_t worker) const {
  return launched_.workers()[worker]->flush_box();
}

bool WorkerFlush::ask() {
  Turn& turn = launched_.flush_turn();
  const bool is_our_turn = turn.expired() || turn.lock().get() == this;
  if (!is_our_turn) return false;
  turn = weak_from_this();
  const std::size_t count = launched_.workers().size();
  // Those of one that was given up may still be at work.
  for (std::size_t i = 0; i < count; ++i)
    if (!box(i).is_idle()) return false;
  for (std::size_t i = 0; i < count; ++i) tickets_.push_back(box(i).ask(selector_));
  return true;
}

}  // namespace vmnat::control
