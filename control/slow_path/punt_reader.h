// SPDX-License-Identifier: Apache-2.0
// PuntReader: empties the rings that workers write to control: punted frames, and MACs that they have
// learned.
//
// First comes all that the uplink lives on (dataplane/context/punt.h), then a burst of each worker in turn,
// so that none waits for all of another's. One call takes a bounded number, whatever VMs send.
#pragma once

#include <functional>
#include <vector>

#include "control/gateway/worker_rings.h"
#include "control/hosts/neighbors.h"
#include "dataplane/frame/packet.h"

namespace vmnat::control {

class PuntReader {
 public:
  static constexpr unsigned kPunts = 1024;   // of a call, beside those that the uplink lives on
  static constexpr unsigned kLearned = 256;  // of a call and worker

  // By worker. They outlive it.
  explicit PuntReader(std::vector<ControlRings>& rings) : rings_(rings) {}

  // Both answer how many there were. A frame's bytes are good until the next one is given.
  using TakePunt = std::function<void(const dataplane::FrameNote& note, const FrameBytes& frame)>;
  unsigned take_punts(const TakePunt& take);
  using TakeLearned = std::function<void(const dataplane::LearnedMac& learned)>;
  unsigned take_learned(const TakeLearned& take);

 private:
  unsigned take_burst(dataplane::FrameRing& ring, const TakePunt& take);

  std::vector<ControlRings>& rings_;
  FrameBytes bytes_;
};

}  // namespace vmnat::control
