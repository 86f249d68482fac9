// SPDX-License-Identifier: Apache-2.0
// What is promised of every frame that leaves a gateway, held against the frame that went in. Shares no code
// with the packet path: headers are read byte by byte, checksums summed from scratch.
#pragma once

#include <cstdint>

#include "conntrack/flow_key.h"
#include "conntrack/session.h"
#include "tests/support/packet_builder.h"

namespace vmnat::fuzz {

struct Output {
  PortIndex port;
  test::Bytes frame;
  bool was_merged = false;  // a segment of a super-frame
};

// Reports by fault() what no frame may be. `inputs`: a burst; one frame is held against everything that came
// out, of several TCP is held against the segment that it was.
void check_outputs(const std::vector<Output>& inputs, const std::vector<Output>& outputs);

// The packets that a super-frame stands for, with right checksums.
std::vector<Output> segments_of(const Output& super_frame, std::size_t segment_size);

// Computes what a mutated frame with an IPv4 header would not have right. kMendPartial: instead of a
// transport checksum the pseudo-header's share of it, for the device to finish (virtio 1.1, 5.1.6.2).
inline constexpr std::uint8_t kMendIp = 1, kMendL4 = 2, kMendPartial = 64;
void mend(test::Bytes& frame, std::uint8_t what);

}  // namespace vmnat::fuzz
