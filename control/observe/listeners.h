// SPDX-License-Identifier: Apache-2.0
// Listeners: who is told by the workers of their sessions just now (session_events.h). As with observers, one comes with
// a published state and goes with another, and its rings are freed with the last state that names them.
#pragma once

#include <memory>

#include "conntrack/session_events.h"
#include "control/gateway/state_publisher.h"
#include "control/result.h"

namespace vmnat::control {

class Listeners {
 public:
  using About = conntrack::SessionEventRing::About;
  static constexpr std::size_t kMost = 8;

  // While it lives the workers tell it. Made and destroyed on control; take() on one thread.
  class Listener {
   public:
    Listener(Listeners& listeners, conntrack::SessionEventRings rings)
        : listeners_(listeners), rings_(std::move(rings)) {}
    ~Listener() { listeners_.remove(*this); }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    // The next event of any worker: of one worker's they come in their order. False: there is none.
    bool take(conntrack::SessionEvent& event);
    // That no ring had room for; any thread.
    [[nodiscard]] std::uint64_t missed() const;

   private:
    friend Listeners;
    Listeners& listeners_;
    conntrack::SessionEventRings rings_;  // by worker
    std::size_t turn_ = 0;
  };

  // `states` outlives it, and it outlives its listeners.
  Listeners(StatePublisher& states, unsigned workers) : states_(states), workers_(workers) {}

  // Makes rings for so many events of each worker. An Error: there are as many listeners as there may be, or no memory.
  Result<std::unique_ptr<Listener>> add(About about, std::size_t events);

  [[nodiscard]] std::uint64_t missed() const;  // since start, of all

 private:
  void remove(const Listener& listener);
  void publish();

  StatePublisher& states_;
  const unsigned workers_;
  std::vector<const Listener*> listeners_;
  std::uint64_t missed_before_ = 0;  // of those who have gone
};

using Listener = Listeners::Listener;

}  // namespace vmnat::control
