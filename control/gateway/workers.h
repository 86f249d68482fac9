// SPDX-License-Identifier: Apache-2.0
// Workers: those of the gateway, each on an lcore of its own from 1 on, from their start to their end.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <vector>

#include "base/time.h"
#include "control/result.h"
#include "dataplane/worker/worker.h"

namespace vmnat::control {

class Workers {
 public:
  using WallTime = std::chrono::system_clock::time_point;

  Workers();  // their time begins
  ~Workers() { stop(); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Where they all begin to count. In the past, if they go on with an earlier process's time.
  void set_start(std::uint64_t start_tsc) { start_tsc_ = start_tsc; }
  [[nodiscard]] std::uint64_t start_tsc() const { return start_tsc_; }
  // False: there is no memory for it.
  [[nodiscard]] bool add(dataplane::Worker::Settings settings, std::unique_ptr<conntrack::Conntrack> table,
                         const conntrack::ExternalPorts& external_ports);
  // All that were added.
  Result<void> start();
  // They have finished their last polls; what they have counted stays.
  void stop();

  [[nodiscard]] std::size_t count() const { return workers_.size(); }
  [[nodiscard]] const dataplane::Worker& operator[](std::size_t index) const { return workers_[index]; }
  [[nodiscard]] dataplane::Worker& operator[](std::size_t index) { return workers_[index]; }
  [[nodiscard]] auto begin() const { return workers_.begin(); }
  [[nodiscard]] auto end() const { return workers_.end(); }

  // Their time, now.
  [[nodiscard]] Time now() const;
  // When that tick began, not long ago. One tick has one time, and a later one a later time, however late they are asked
  // for, unless the wall clock is set meanwhile.
  [[nodiscard]] WallTime wall_time(Time when) const;
  // Every worker has finished a poll with this generation of the forwarding state, or a later one.
  [[nodiscard]] std::uint64_t least_seen_generation() const;
  // Ticks of the time stamp counter that they have been busy, all together: grows while there is something to
  // do.
  [[nodiscard]] std::uint64_t busy_cycles() const;
  // By worker.
  [[nodiscard]] std::vector<const conntrack::Conntrack*> tables() const;
  [[nodiscard]] std::vector<dataplane::RefusedRemotes::Copy> refused_remotes() const;

 private:
  [[nodiscard]] std::uint64_t ticks_at(std::uint64_t tsc) const;

  std::uint64_t start_tsc_;
  mutable std::atomic<WallTime> wall_start_{WallTime{}};  // when their time began
  std::deque<dataplane::Worker> workers_;                 // they are never moved
  unsigned running_ = 0;
};

}  // namespace vmnat::control
