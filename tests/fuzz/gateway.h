// SPDX-License-Identifier: Apache-2.0
// The packet path under any frames: real workers over ring devices (tests/support/testbed.h), and an oracle
// that looks at every frame that comes out. outbound.cc and inbound.cc are the two fuzz targets.
//
// An input is a gateway and what is put into it:
//
//   byte 0     which gateway: filtering, one worker or two
//   steps of   port (1 byte), mends (1 byte), length (2 bytes, big-endian), the frame
//
// Mends are what is computed before the frame goes in, so that mutations get past a checksum: 1 IPv4's,
// 2 TCP's, UDP's or ICMP's; 4 says that the frame comes in one burst with the next one. Each input starts
// from the same state: a few flows are open, forwards lead to vm1; in the end hours pass, and no session,
// buffer or frame may be left. What is promised of every frame:
//
//   - it is transmitted, punted or dropped and counted, and its buffer comes back;
//   - what leaves by the uplink has the external source, a right IPv4 checksum, a transport checksum that is
//     right if it was before, and quotes no inside address; nothing else leaves there;
//   - what comes in from the uplink goes to an address of the port's network, from its gateway's MAC;
//   - vm1 takes TCP super-frames: what such a frame is cut into are segments of the burst, those of a session
//     in their order, and all had right checksums.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tests/support/packet_builder.h"

namespace vmnat::fuzz {

using Input = std::vector<std::uint8_t>;

inline constexpr std::uint8_t kMendAll = 3, kSameBurst = 4;

enum class Side { Vms, Uplink };  // where the frames of a target come from

// Plays one input; reports a broken promise by fault().
void play(std::span<const std::uint8_t> input, Side side);

// One step of an input: the frame goes into that port.
void add_step(Input& input, std::uint8_t port, const test::Bytes& frame, std::uint8_t mends = 0);

// From vm1 to a remote, or back: of the flows that every input finds open, and some of others.
std::vector<test::Bytes> frames_of_every_kind(Side side);

// Frames of every kind, to mutate, and the recorded cases of the behaviour suite.
std::vector<Input> gateway_seeds(Side side);

}  // namespace vmnat::fuzz
