// SPDX-License-Identifier: Apache-2.0
// Stream: a row of frames, sent out of one port as fast as its ring takes them, or as many as are due.
//
// Per frame it takes a buffer that already holds the template, copies one FlowPatch (32 bytes, read in
// sequence) into it and hands it to the driver. What the ring does not take stays pending; nothing is dropped
// here. A frame is stamped when it is first offered to the ring: time before a full ring is latency.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bench/generator/frame.h"
#include "bench/generator/ports.h"

namespace vmnat::bench {

enum class Repetition : std::uint8_t { Once, Endless };
enum class Stamping : std::uint8_t { None, EachFrame };

// What a stream sends: frames in order, and the cycle of their lengths.
struct Row {
  std::vector<FlowPatch> patches;      // not empty; whole cycles when it is repeated
  std::vector<std::uint16_t> lengths;  // without FCS; one entry when all are alike
};

class Stream {
 public:
  // The port's load pool holds the template of the largest frame already.
  Stream(Port& port, Row row, Repetition repetition, Stamping stamping = Stamping::None);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Sends up to a burst, at most `most`; the number of frames that the ring took.
  std::uint16_t send(std::uint64_t most = kBurst);
  [[nodiscard]] bool is_finished() const { return pending_ == 0 && next_ == row_.patches.size(); }
  [[nodiscard]] std::uint64_t sent() const { return sent_; }

 private:
  void take_buffers();
  void refill();
  void set_length(rte_mbuf* buffer);
  void stamp_up_to(std::uint16_t end);

  Row row_;
  std::size_t next_ = 0;  // index of the next patch
  std::size_t slot_ = 0;  // in the cycle of lengths
  Repetition repetition_;
  Stamping stamping_;
  Port& port_;
  std::uint16_t first_ = 0;  // of the pending buffers
  std::uint16_t pending_ = 0;
  std::uint16_t stamped_ = 0;  // buffers before this one have their stamp
  std::uint64_t sent_ = 0;
  std::array<rte_mbuf*, kBurst> buffers_{};
  std::array<rte_mbuf*, kBurst> taken_{};
  std::uint16_t taken_count_ = 0;
};

}  // namespace vmnat::bench
