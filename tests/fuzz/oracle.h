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
};

// Reports by fault() what no frame may be.
void check_output(const Output& input, const Output& output);

// Computes checksums of a frame that has headers: 1 IPv4's, 2 TCP's, UDP's or ICMP's.
void mend(test::Bytes& frame, std::uint8_t what);

}  // namespace vmnat::fuzz
