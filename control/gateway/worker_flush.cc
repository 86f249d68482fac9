// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/worker_flush.h"

namespace vmnat::control {

std::shared_ptr<const FlushTurns::Turn> FlushTurns::take() {
  if (!taken_.expired()) return nullptr;
  auto turn = std::make_shared<const Turn>();
  taken_ = turn;
  return turn;
}

std::optional<std::uint64_t> WorkerFlush::poll() {
  if (tickets_.empty() && !ask()) return std::nullopt;
  std::uint64_t flushed = 0;
  for (std::size_t i = 0; i < tickets_.size(); ++i) {
    const auto answer = workers_[i].flush_box().answer_to(tickets_[i]);
    if (!answer) return std::nullopt;
    flushed += *answer;
  }
  for (std::size_t i = 0; i < tickets_.size(); ++i) workers_[i].flush_box().forget();
  return flushed;
}

bool WorkerFlush::ask() {
  if (turn_ == nullptr) turn_ = turns_.take();
  if (turn_ == nullptr) return false;
  // The workers may still be at a flush that was destroyed before its end.
  for (std::size_t i = 0; i < workers_.count(); ++i)
    if (!workers_[i].flush_box().is_idle()) return false;
  for (std::size_t i = 0; i < workers_.count(); ++i) {
    tickets_.push_back(workers_[i].flush_box().ask(selector_, destination_));
    workers_[i].wake();
  }
  return true;
}

}  // namespace vmnat::control
