// SPDX-License-Identifier: Apache-2.0
// The inputs of guest.cc: frames as guests hand them over, and others that come by wires.
//
//   byte 0     which gateway: features of the guests, offloads of the devices, one worker or two
//   steps of   port (1 byte): vm1, vm2, vm3 or the uplink
//              mends (1): oracle.h's, 4: in one burst with the next one, 8: in an indirect table
//              cut (2): bytes of the first buffer and of the others, see bytes_of_piece()
//              lengths (1): the frame's and the IPv4 header's, of kFrameLengths and kIpLengths
//              offload (1): the guest's header and the segment size, of kOffloads and kSegmentSizes
//              header (10): the guest's, where `offload` leaves it; virtio 1.1, 5.1.6
//              length (2, big-endian), the frame
//
// Lengths and sizes are chosen from tables of edges, so that a few bytes make any combination of them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <utility>

#include "dataplane/device/virtio.h"
#include "tests/fuzz/guest_rings.h"
#include "tests/support/testbed.h"

namespace vmnat::fuzz {

inline constexpr unsigned kGuestKinds = 4;  // of gateways, by byte 0

struct Step {
  PortIndex port = 0;
  std::uint8_t mends = 0;
  GuestRings::Layout layout;
  dataplane::virtio::NetHeader header;
  test::Bytes frame;
};

// The most that a chain may hold is 65557: a packet, its Ethernet header, two tags. 0: as it stands.
inline constexpr std::array<std::uint32_t, 16> kFrameLengths = {
    0, 14, 42, 60, 1'514, 1'515, 1'522, 2'049, 4'000, 9'014, 33'000, 65'535, 65'536, 65'549, 65'557, 65'558};
inline constexpr std::uint32_t kRight = 0x10000;  // and sums with it: the frame's length and something
inline constexpr std::array<std::uint32_t, 16> kIpLengths = {
    0, kRight, kRight - 1, kRight + 1, 20, 21, 28, 40, 576, 1'500, 1'501, 9'000, 32'768, 65'534, 65'535, 1};
inline constexpr std::array<std::uint16_t, 16> kSegmentSizes = {
    0, 1, 8, 48, 256, 536, 1'448, 1'460, 1'461, 1'474, 1'482, 2'000, 9'000, 32'768, 65'482, 65'535};
struct Offload {
  bool is_as_it_stands = false;
  std::uint8_t flags = 0, segmentation = 0;
};
inline constexpr std::uint8_t kSum = dataplane::virtio::NetHeader::kNeedsChecksum;
inline constexpr std::array kOffloads = {
    Offload{.is_as_it_stands = true},
    Offload{},
    Offload{.flags = kSum},
    Offload{.flags = kSum, .segmentation = dataplane::virtio::NetHeader::kTcp4},
    Offload{.flags = kSum, .segmentation = dataplane::virtio::NetHeader::kTcp6},
    Offload{.flags = kSum, .segmentation = dataplane::virtio::NetHeader::kUdp},
    Offload{.flags = kSum, .segmentation = dataplane::virtio::NetHeader::kUdpSegments},
    Offload{.flags = kSum,
            .segmentation = dataplane::virtio::NetHeader::kTcp4 | dataplane::virtio::NetHeader::kEcn},
    Offload{.segmentation = dataplane::virtio::NetHeader::kTcp4}};

inline bool is_guest(PortIndex port) {
  return port == test::kVm1 || port == test::kVm2;
}

// Two bytes of a frame, big-endian.
inline std::size_t word_at(const test::Bytes& bytes, std::size_t at) {
  return static_cast<std::size_t>(bytes[at]) << 8 | static_cast<std::size_t>(bytes[at + 1]);
}

// Offsets of the transport header of an untagged frame and of its checksum there.
std::pair<std::size_t, std::size_t> checksum_place(const test::Bytes& frame);

// The next step, or false when the input is used up.
bool next_step(std::span<const std::uint8_t>& input, Step& step);

// Frames of every kind, finished and unfinished, and those that once broke something.
std::vector<std::vector<std::uint8_t>> guest_seeds();

}  // namespace vmnat::fuzz
