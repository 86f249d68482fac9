// SPDX-License-Identifier: Apache-2.0
// Observers: who observes the workers just now. One comes with a published state, and goes with another one; the
// rings of one who has gone are freed with the last state that names them, when no worker can write to them any more.
#pragma once

#include <memory>

#include "control/gateway/state_publisher.h"
#include "control/result.h"
#include "dataplane/observe/watch.h"

namespace vmnat::control {

class Observers {
 public:
  // While it lives the workers record what the observation is about.
  class Observer {
   public:
    Observer(Observers& observers, std::shared_ptr<const dataplane::Observation> observation);
    ~Observer();
    Observer(const Observer&) = delete;
    Observer& operator=(const Observer&) = delete;
    [[nodiscard]] const dataplane::Observation& observation() const { return *observation_; }
    // What no ring had room for: at a port, and in all.
    [[nodiscard]] std::uint64_t missed(PortIndex port) const;
    [[nodiscard]] std::uint64_t missed() const;

   private:
    Observers& observers_;
    std::shared_ptr<const dataplane::Observation> observation_;
  };

  // `states` outlives it, and it outlives its observers.
  using FindMark = std::optional<dataplane::TraceMark> (*)();
  Observers(StatePublisher& states, unsigned workers, FindMark find_mark = dataplane::TraceMark::find)
      : states_(states), workers_(workers), find_mark_(find_mark) {}

  // Makes the rings, of so many bytes for each worker. An Error: there are as many observers as there may be; of
  // traces, one.
  Result<std::unique_ptr<Observer>> add(dataplane::Observation wanted, std::size_t ring_bytes);

  [[nodiscard]] std::size_t count() const { return observations_.size(); }
  [[nodiscard]] std::uint64_t missed() const;  // since start, of all

 private:
  void remove(const Observer& observer);
  Result<void> admit_trace(dataplane::Observation& wanted);
  void publish();

  StatePublisher& states_;
  const unsigned workers_;
  dataplane::Observations observations_;
  const FindMark find_mark_;
  std::optional<dataplane::TraceMark> mark_;  // once there was a trace
  std::uint64_t missed_before_ = 0;           // of those who have gone
  std::uint32_t numbered_ = 0;                // frames that were to be traced, by all
};

using Observer = Observers::Observer;

}  // namespace vmnat::control
