// SPDX-License-Identifier: Apache-2.0
// Transmission: what has become of a burst of frames at the device that they were to leave by.
#pragma once

#include <rte_mbuf.h>

#include "dataplane/frame/frame_set.h"

namespace vmnat::dataplane {

// Those that are in none of the sets found the way out full.
struct Transmission {
  FrameSet sent;      // taken over
  FrameSet too_long;  // for any buffer of the guest's, or for the interface
  FrameSet refused;   // with what they leave to the device
  FrameSet lost;      // on the way out, such as by a filter of the host's

  // Of `count` frames those that were not taken; and of one of them, whether there was no room for it.
  [[nodiscard]] FrameSet unsent(unsigned count) const { return FrameSet::first(count).without(sent); }
  [[nodiscard]] bool found_full(unsigned i) const {
    return !too_long.has(i) && !refused.has(i) && !lost.has(i);
  }

  static constexpr unsigned kMostFrames = kBurstSize;
  // For devices that copy: those that were sent.
  void free_sent(rte_mbuf** frames, unsigned count) const {
    if (sent == FrameSet::first(count)) return free_burst(frames, count);
    for (const unsigned i : sent) rte_pktmbuf_free(frames[i]);
  }

 private:
  // Frames of one pool that are nobody else's and in one piece are as the pool wants them, and go straight back.
  static void free_burst(rte_mbuf** frames, unsigned count) {
    rte_mempool* const pool = frames[0]->pool;
    bool are_plain = true;
    for (unsigned i = 0; i < count; ++i) {
      const rte_mbuf* frame = frames[i];
      are_plain &= frame->pool == pool && frame->nb_segs == 1 && rte_mbuf_refcnt_read(frame) == 1 &&
                   RTE_MBUF_DIRECT(frame);
    }
    if (!are_plain) return rte_pktmbuf_free_bulk(frames, count);
    rte_mempool_put_bulk(pool, static_cast<void**>(static_cast<void*>(frames)), count);
  }
};

}  // namespace vmnat::dataplane
