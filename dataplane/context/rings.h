// SPDX-License-Identifier: Apache-2.0
// Rings: single-producer single-consumer rings of frames and messages, the only ways between threads.
//
//   worker -> control   punt, uplink_punt (frames), learn (source MAC seen on a port)
//   control -> worker   inject (frames with an errand)
//   worker -> worker    handoff[to] (frames with an errand, for a queue or session that the other one owns)
//
// Who has pushed something rings the reader's doorbell, for the reader may sleep (doorbell.h).
//
// A ring holds a power of two minus one entries; a producer drops and counts a frame that does not fit. So
// that a ring does not hold many more buffers than entries, it takes frames of several buffers (up to 33)
// only while few entries are used: at most some 4100 buffers are in a handoff ring of 2047 entries.
#pragma once

#include <cstdint>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <span>
#include <vector>

#include "base/ids.h"
#include "dataplane/device/doorbell.h"
#include "dataplane/frame/packet.h"
#include "net/address.h"

struct rte_mbuf;

namespace vmnat::dataplane {

// A view of an rte_ring of frames; control creates and frees the ring itself.
class FrameRing {
 public:
  FrameRing() = default;
  explicit FrameRing(rte_ring* ring) : ring_(ring) {}
  bool push(rte_mbuf* frame) {
    if (frame->nb_segs > 1 && rte_ring_count(ring_) >= kEntriesBeforeChains) return false;
    return rte_ring_sp_enqueue(ring_, frame) == 0;
  }
  unsigned pop(rte_mbuf** frames, unsigned count) {
    return rte_ring_sc_dequeue_burst_elem(ring_, frames, sizeof(void*), count, nullptr);
  }
  [[nodiscard]] unsigned count() const { return rte_ring_count(ring_); }  // any thread

 private:
  static constexpr unsigned kEntriesBeforeChains = 64;
  rte_ring* ring_ = nullptr;
};

// "This MAC address sends from this port." With an address: "... and says by ARP that it has this one", in a
// frame that goes on.
struct LearnedMac {
  net::MacAddr mac;
  PortIndex port = 0;
  net::Ipv4Addr address{};
};
static_assert(sizeof(LearnedMac) == 12);

class LearnRing {
 public:
  LearnRing() = default;
  explicit LearnRing(rte_ring* ring) : ring_(ring) {}
  bool push(const LearnedMac& learned) {
    return rte_ring_sp_enqueue_elem(ring_, const_cast<LearnedMac*>(&learned), sizeof learned) == 0;
  }
  bool pop(LearnedMac& learned) { return rte_ring_sc_dequeue_elem(ring_, &learned, sizeof learned) == 0; }
  [[nodiscard]] unsigned count() const { return rte_ring_count(ring_); }  // any thread

 private:
  rte_ring* ring_ = nullptr;
};

// One worker's ends.
struct Rings {
  FrameRing punt;
  FrameRing uplink_punt;  // what the uplink lives on; see punt.h
  FrameRing inject;
  LearnRing learn;
  std::vector<FrameRing> handoff_to;    // by worker; own entry unused
  std::vector<FrameRing> handoff_from;  // from the other workers
  std::span<Doorbell> doorbells;        // by worker; none: nobody sleeps by them
  Doorbell* control = nullptr;          // the same

  void wake_control() const {
    if (control != nullptr) control->ring();
  }
};

}  // namespace vmnat::dataplane
