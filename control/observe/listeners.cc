// SPDX-License-Identifier: Apache-2.0
#include "control/observe/listeners.h"

#include <fmt/format.h>
#include <new>

namespace vmnat::control {

using conntrack::SessionEvent;
using conntrack::SessionEventRing;

bool Listeners::Listener::take(SessionEvent& event) {
  for (std::size_t looked = 0; looked < rings_.size(); ++looked) {
    if (rings_[turn_]->take(event)) return true;
    turn_ = turn_ + 1 == rings_.size() ? 0 : turn_ + 1;
  }
  return false;
}

std::uint64_t Listeners::Listener::missed() const {
  std::uint64_t missed = 0;
  for (const auto& ring : rings_) missed += ring->missed();
  return missed;
}

Result<std::unique_ptr<Listener>> Listeners::add(About about, std::size_t events) {
  if (listeners_.size() == kMost)
    return tl::unexpected(
        Error{"", fmt::format("{} listen to sessions, and there may be no more: end one first", kMost)});
  conntrack::SessionEventRings rings;
  try {
    for (unsigned worker = 0; worker < workers_; ++worker)
      rings.push_back(std::make_shared<SessionEventRing>(about, events));
  } catch (const std::bad_alloc&) {
    return tl::unexpected(Error{"", "no memory for the buffers"});
  }
  auto listener = std::make_unique<Listener>(*this, std::move(rings));
  listeners_.push_back(listener.get());
  publish();
  return listener;
}

std::uint64_t Listeners::missed() const {
  std::uint64_t missed = missed_before_;
  for (const Listener* listener : listeners_) missed += listener->missed();
  return missed;
}

void Listeners::remove(const Listener& listener) {
  missed_before_ += listener.missed();
  std::erase(listeners_, &listener);
  publish();
}

void Listeners::publish() {
  dataplane::ForwardingState next = states_.current();
  conntrack::SessionListeners by_worker(listeners_.empty() ? 0 : workers_);
  for (unsigned worker = 0; worker < by_worker.size(); ++worker)
    for (const Listener* listener : listeners_) by_worker[worker].push_back(listener->rings_[worker]);
  next.listeners = listeners_.empty()
                       ? nullptr
                       : std::make_shared<const conntrack::SessionListeners>(std::move(by_worker));
  states_.publish(std::move(next));
}

}  // namespace vmnat::control
