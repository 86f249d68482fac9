// SPDX-License-Identifier: Apache-2.0
// What is promised of every frame that leaves a gateway, held against the frame that went in. Shares no code
// with the packet path: headers are read byte by byte, checksums summed from scratch.
#pragma once

#include <cstdint>

#include "conntrack/flow_key.h"
#include "conntrack/session.h"
#include "tests/dataplane/packet_builder.h"

namespace vmnat::fuzz {

struct Output {
  conntrack::PortIndex port;
  test::Bytes frame;
  bool was_merged = false;  // a segment of a super-frame
};

// Reports by fault() what no frame may be. `inputs`: a burst; one frame is held against everything that came
// out, of several TCP is held against the segment that it was.
void check_outputs(const std::vector<Output>& inputs, const std::vector<Output>& outputs);

// The packets that a super-frame stands for, with right checksums.
std::vector<Output> segments_of(const Output& super_frame, std::size_t segment_size);

// Computes checksums of a frame that has headers: gateway.h.
void mend(test::Bytes& frame, std::uint8_t what);

}  // namespace vmnat::fuzz
