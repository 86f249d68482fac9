// SPDX-License-Identifier: Apache-2.0
// The sending half of a TCP connection, as a VM's stack with segmentation offload would send it: super-frames.
//
//   SYN, SYN ACK, ACK;  then 64240 bytes a frame, which whoever has the wire cuts into 44 segments of 1460
//
// Enough of TCP to be treated as one by the other end: window scaling, slow start and additive increase, and after a
// loss, of which three equal acknowledgments or silence tell, half the window from the lost byte on. No SACK, no time
// stamps, no end. A function of frames and of its calls; no clock, no DPDK.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "bench/generator/flows.h"
#include "net/wire.h"

namespace vmnat::bench {

class TcpSource {
 public:
  static constexpr std::uint16_t kSegment = 1460;
  static constexpr std::size_t kHeaders =
      sizeof(net::EthernetHeader) + sizeof(net::Ipv4Header) + sizeof(net::TcpHeader);
  static constexpr std::uint32_t kPayload = 44 * kSegment;
  static constexpr std::size_t kSynLength = kHeaders + 8;

  TcpSource(net::MacAddr own, net::MacAddr gateway, const Tuple& tuple)
      : own_(own), gateway_(gateway), tuple_(tuple) {}

  [[nodiscard]] bool is_open() const { return is_open_; }
  [[nodiscard]] std::uint32_t acknowledged() const { return acknowledged_; }
  [[nodiscard]] unsigned losses() const { return losses_; }  // how often it went back
  // Whether windows have room for another super-frame.
  [[nodiscard]] bool may_send() const {
    return is_open_ && next_ - acknowledged_ + kPayload <= (window_ < congestion_ ? window_ : congestion_);
  }

  // kSynLength bytes, with checksums.
  void write_syn(std::span<std::byte> frame) const;
  // kHeaders bytes, with checksums, of a frame without payload.
  void write_ack(std::span<std::byte> frame) const;
  // The headers of the next super-frame, whose TCP checksum is left to the device.
  void write_next(std::span<std::byte> frame);
  // Takes a frame that is the other end's; anything else is passed over.
  void receive(std::span<const std::byte> frame);
  // Sends again from the first byte on that is not acknowledged.
  void go_back();

 private:
  void write(std::span<std::byte> frame, std::uint8_t flags, std::size_t payload) const;
  void open(std::span<const std::byte> options, const net::TcpHeader& tcp);
  void take_acknowledgment(std::uint32_t number);

  net::MacAddr own_, gateway_;
  Tuple tuple_;
  bool is_open_ = false;
  std::uint32_t acknowledged_ = 0, next_ = 0, lost_before_ = 0;  // sequence numbers; the SYN has 0
  std::uint32_t others_next_ = 0;
  std::uint32_t window_ = 0, congestion_ = 4 * kPayload, threshold_ = 1u << 30;
  unsigned window_shift_ = 0, equal_acknowledgments_ = 0, losses_ = 0;
};

}  // namespace vmnat::bench
