// SPDX-License-Identifier: Apache-2.0
// TapQueue: one queue of a TAP device that we are attached to (Linux, networking/tuntap): what its host sends is
// read here, and what is written here its host receives. With virtio's header (IFF_VNET_HDR), so that partial
// checksums and super-frames cross in both directions.
//
// A frame is one system call, copied once: it is read into buffers that lie ready for the longest one, of which
// the unused stay for the next.
//
// Threads: as packet_socket.h.
#pragma once

#include <array>
#include <cstdint>
#include <rte_mbuf.h>

#include "dataplane/device/kernel_frames.h"
#include "dataplane/device/transmission.h"

namespace vmnat::dataplane {

class TapQueue {
 public:
  TapQueue() = default;
  ~TapQueue() { close(); }
  TapQueue(const TapQueue&) = delete;
  TapQueue& operator=(const TapQueue&) = delete;

  // The descriptor stays the caller's, and there until it is opened with another or closed.
  void open(int descriptor) { descriptor_ = descriptor; }
  void close();
  [[nodiscard]] bool is_open() const { return descriptor_ >= 0; }
  [[nodiscard]] int descriptor() const { return descriptor_; }  // readable when frames have arrived
  // They may have: for want of buffers take() has not looked.
  [[nodiscard]] bool has_waiting() const { return is_open() && ready_ < room_.size(); }

  // As PacketSocket's.
  std::uint16_t take(rte_mempool* pool, rte_mbuf** frames, std::uint16_t most);
  Transmission put(rte_mbuf* const* frames, std::uint16_t count);

 private:
  [[nodiscard]] bool has_room(rte_mempool* pool);
  rte_mbuf* frame_of(std::uint32_t length);

  int descriptor_ = -1;
  unsigned ready_ = 0;  // buffers, at the end of `room_`
  std::array<rte_mbuf*, kMostFrameBuffers> room_;
};

}  // namespace vmnat::dataplane
