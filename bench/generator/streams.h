// SPDX-License-Identifier: Apache-2.0
// Streams: all that goes into the device under test in one direction, a Stream for each port that sends.
//
// A flow's frames go out of its own port. The ports are visited in turn, and each sends at most a burst a visit:
//
//   3 VM ports, full rings of which 1, 0 and 2 places get free:  port 0 sends 1, port 1 none, port 2 sends 2, port 0 again
#pragma once

#include <memory>
#include <vector>

#include "bench/generator/frame_mix.h"
#include "bench/generator/stream.h"
#include "bench/generator/tester.h"

namespace vmnat::bench {

struct StreamPlan {
  Direction direction = Direction::Outbound;
  FrameMix frames = FrameMix::of_size(kSmallestFrame);
  std::vector<FlowNumber>
      flows;  // in the order of sending; repeated, the first ones fill the last cycle of lengths up
  Repetition repetition = Repetition::Once;
  Stamping stamping = Stamping::None;
};

class Streams {
 public:
  // The ports' load pools hold the template of the largest frame already.
  Streams(Tester& tester, const StreamPlan& plan);

  // Visits each port once at most, until `most` frames are sent; the number of frames that the rings took.
  std::uint64_t send(std::uint64_t most = kBurst);
  [[nodiscard]] bool is_finished() const;
  [[nodiscard]] std::uint64_t sent() const { return sent_; }

 private:
  std::vector<std::unique_ptr<Stream>> streams_;  // of the ports that have flows
  std::size_t next_ = 0;
  std::uint64_t sent_ = 0;
};

}  // namespace vmnat::bench
