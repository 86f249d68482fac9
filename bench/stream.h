// SPDX-License-Identifier: Apache-2.0
// Stream: a row of frames, sent out of one port as fast as its ring takes them.
//
// Per frame it takes a buffer that already holds the template, copies one FlowPatch (32 bytes, read in
// sequence) into it and hands it to the driver. What the ring does not take stays pending; nothing is dropped
// here.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bench/frame.h"
#include "bench/ports.h"
#include "bench/testbed.h"

namespace vmnat::bench {

enum class Repetition : std::uint8_t { Once, Endless };

class Stream {
 public:
  // `patches` is not empty. The port's load pool holds the template already.
  Stream(const Port& port, std::vector<FlowPatch> patches, Repetition repetition);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Sends up to a burst; the number of frames that the ring took.
  std::uint16_t send();
  [[nodiscard]] bool is_finished() const { return pending_ == 0 && next_ == patches_.size(); }
  [[nodiscard]] std::uint64_t sent() const { return sent_; }

 private:
  void take_buffers();
  void refill();

  std::vector<FlowPatch> patches_;
  std::size_t next_ = 0;  // index of the next patch
  Repetition repetition_;
  std::uint16_t port_;
  std::uint16_t first_ = 0;  // of the pending buffers
  std::uint16_t pending_ = 0;
  std::uint64_t sent_ = 0;
  rte_mempool* pool_;
  std::array<rte_mbuf*, kBurst> buffers_{};
  std::array<rte_mbuf*, kBurst> taken_{};
  std::uint16_t taken_count_ = 0;
};

// Patches for these flows in this order.
std::vector<FlowPatch> patches_of(const TestBed& bed, Direction direction, const FrameTemplate& content,
                                  const std::vector<FlowNumber>& flows);

}  // namespace vmnat::bench
