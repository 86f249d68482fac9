// SPDX-License-Identifier: Apache-2.0
// HeldFrames: what waits at a worker's transmitter for ports whose limits are used up, a queue for each port.
//
// A queue holds 50 ms of its limit's rate (Limit::queue), and what is more is dropped as drop.rate_limit: TCP finds its
// rate by the delay and by losses at the end of a queue, as at any slower link, where a policer without a queue would
// cost it timeouts. What the gateway itself has for a VM (ARP, DHCP, ICMP errors) goes before everything else.
//
// All queues together hold a quarter of the packet buffers, divided by the workers. One half is for whoever needs it,
// the other is reserved in even parts for the limited ports: no port's flood takes another's place.
//
// Owned by a worker.
#pragma once

#include <cstdint>
#include <rte_mbuf.h>
#include <utility>

#include "base/ids.h"
#include "conntrack/reserved_array.h"
#include "dataplane/device/offload.h"
#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {

// The frames of one port, in the order in which they leave. Where each came from stands in its note.
class HeldFrames {
 public:
  static constexpr unsigned kMost = 1024;
  static constexpr unsigned kForGateway = 32;  // places that only its own frames take

  [[nodiscard]] bool is_empty() const { return count_ == 0; }
  [[nodiscard]] unsigned count() const { return count_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::uint32_t buffers() const { return buffers_; }
  [[nodiscard]] rte_mbuf* first() const { return frames_[head_]; }

  void push_back(rte_mbuf* frame) {
    frames_[(head_ + count_) % kMost] = frame;
    add(frame);
  }
  void push_front(rte_mbuf* frame) {
    head_ = (head_ + kMost - 1) % kMost;
    frames_[head_] = frame;
    add(frame);
  }
  rte_mbuf* pop() {
    rte_mbuf* const frame = frames_[head_];
    head_ = (head_ + 1) % kMost;
    --count_;
    waiters_ -= waiters_ == 0 ? 0 : 1;
    bytes_ -= frame->pkt_len;
    buffers_ -= frame->nb_segs;
    return frame;
  }

  // How many have been left waiting since it was asked last.
  unsigned take_new_waiters() { return count_ - std::exchange(waiters_, count_); }

  bool is_listed = false;  // among those that hold something
  Offloads offloads;       // of the port, which the frames were made ready for

 private:
  void add(const rte_mbuf* frame) {
    ++count_;
    bytes_ += frame->pkt_len;
    buffers_ += frame->nb_segs;
  }

  std::uint32_t head_ = 0, count_ = 0;
  std::uint32_t waiters_ = 0;  // of them, that have been asked for; not more than there are
  std::uint64_t bytes_ = 0;
  std::uint32_t buffers_ = 0;
  rte_mbuf* frames_[kMost];
};

}  // namespace vmnat::dataplane
