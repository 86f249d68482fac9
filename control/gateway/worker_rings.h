// SPDX-License-Identifier: Apache-2.0
// WorkerRings: the rings between workers, and between each of them and control (dataplane/context/rings.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "control/gateway/doorbells.h"
#include "control/result.h"
#include "dataplane/context/rings.h"

namespace vmnat::control {

// Control's ends of one worker's rings.
struct ControlRings {
  dataplane::FrameRing punt;         // to read
  dataplane::FrameRing uplink_punt;  // to read, first
  dataplane::LearnRing learn;        // to read
  dataplane::FrameRing inject;       // to write, and then to ring:
  dataplane::Doorbell* doorbell = nullptr;
};

class WorkerRings {
 public:
  // The doorbells outlive it; there are as many as workers.
  static Result<std::unique_ptr<WorkerRings>> create(Doorbells& doorbells, std::size_t uplinks);
  // The workers have stopped. Frees the frames that they have punted.
  ~WorkerRings();
  WorkerRings(const WorkerRings&) = delete;
  WorkerRings& operator=(const WorkerRings&) = delete;

  [[nodiscard]] const dataplane::Rings& of_worker(WorkerIndex worker) const { return of_workers_[worker]; }
  [[nodiscard]] std::vector<ControlRings>& of_control() { return of_control_; }  // by worker
  [[nodiscard]] const std::vector<ControlRings>& of_control() const { return of_control_; }
  // Frames of other workers that wait for this one. Any thread.
  [[nodiscard]] unsigned waiting_for(WorkerIndex worker) const;

 private:
  struct Free {
    void operator()(rte_ring* ring) const;
  };
  explicit WorkerRings(std::size_t uplinks);
  Result<rte_ring*> make(const std::string& name, unsigned size, unsigned element_size);
  Result<dataplane::FrameRing> make_frame_ring(const std::string& name, unsigned size);
  Result<void> connect_to_control(unsigned worker, Doorbells& doorbells);
  Result<void> connect_with_each_other(unsigned from, unsigned to);

  unsigned uplink_punt_size_;
  std::vector<std::unique_ptr<rte_ring, Free>> rings_;
  std::vector<dataplane::Rings> of_workers_;  // by worker
  std::vector<ControlRings> of_control_;      // the same
};

}  // namespace vmnat::control
