// SPDX-License-Identifier: Apache-2.0
// One TCP connection, opened and closed, as a function from a segment to the segments that answer it.
//
//   client (VM)                                  server (router's side)
//     SYN            seq n                --->
//                                         <---   SYN ACK  seq n    ack n+1
//     ACK            seq n+1  ack n+1     --->
//     FIN ACK        seq n+1  ack n+1     --->
//                                         <---   FIN ACK  seq n+1  ack n+2
//     ACK            seq n+2  ack n+2     --->   complete
//
// Neither end remembers anything: both take n = 4 x flow as initial sequence number, so that a segment says
// by itself which flow it belongs to and how far that is. Six segments without data, 64 bytes on the wire
// each.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "bench/generator/frame.h"

namespace vmnat::bench {

inline constexpr FlowNumber kMostTcpFlows = FlowNumber{1} << 30;

struct TcpSegment {
  Tuple tuple;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgment = 0;
  std::uint8_t flags = 0;

  [[nodiscard]] FlowNumber flow() const { return sequence >> 2; }
  // 0: SYN; 1: up to the FIN; 2: after it.
  [[nodiscard]] unsigned phase() const { return sequence & 3; }
  bool operator==(const TcpSegment&) const = default;
};

struct Answer {
  std::array<TcpSegment, 2> segments{};
  unsigned count = 0;
  bool is_complete = false;  // the server has seen the last segment
};

TcpSegment first_segment(const Tuple& tuple, FlowNumber flow);
// Answers nothing to a segment that has no place in the talk.
Answer client_answer(const TcpSegment& received);
Answer server_answer(const TcpSegment& received);

// Frames of one sender. All differ in the FlowPatch's bytes alone, as with UDP.
class TcpTemplate {
 public:
  TcpTemplate(net::MacAddr from, net::MacAddr to);
  // `frame` has room for length() bytes.
  void write(const TcpSegment& segment, std::byte* frame) const;
  static constexpr std::size_t length() { return kSmallestFrame - kFcsLength; }

 private:
  std::array<std::byte, kSmallestFrame - kFcsLength> bytes_{};
  std::uint64_t ip_sum_, tcp_sum_;  // of what all frames have
};

// The segment in a frame of this kind; headers are taken as they are.
std::optional<TcpSegment> read_segment(std::span<const std::byte> frame);
// Whether both checksums of a frame that read_segment() takes are right.
Fault checksum_fault_of(std::span<const std::byte> frame);

}  // namespace vmnat::bench
