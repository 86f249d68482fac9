// SPDX-License-Identifier: Apache-2.0
// Flooder: a third port of the generator, on a VM port of the device under test, that sends the frames of one
// flood as fast as its ring takes them. What comes to it is thrown away.
#pragma once

#include <array>

#include "bench/generator/flood_frames.h"
#include "bench/generator/ports.h"

namespace vmnat::bench {

class Flooder {
 public:
  Flooder(const std::string& device_name, unsigned queue_size, const Flood& flood);

  [[nodiscard]] net::MacAddr mac() const { return port_.mac(); }
  [[nodiscard]] bool is_up() const { return port_.is_up(); }
  void aim(const FloodEnds& ends) { frame_ = flood_.frame(ends); }
  // Sends up to a burst and throws away what has come; the number of frames that the ring took.
  unsigned turn();
  [[nodiscard]] std::uint64_t sent() const { return sent_; }

 private:
  void refill();
  void make(rte_mbuf* buffer);
  void discard_received();

  const Flood& flood_;
  Port port_;
  rte_mempool* pool_;
  std::vector<std::byte> frame_;
  std::uint32_t number_ = 0;
  std::uint64_t sent_ = 0;
  std::uint16_t first_ = 0, pending_ = 0;
  std::array<rte_mbuf*, kBurst> buffers_{};
};

}  // namespace vmnat::bench
