// SPDX-License-Identifier: Apache-2.0
// Transmission: what has become of a burst of frames at the device that they were to leave by.
#pragma once

#include <bit>
#include <cstdint>
#include <rte_mbuf.h>

namespace vmnat::dataplane {

// Of a burst's frames, a bit for each: the first one's is the lowest. Those that are in none of the sets found
// the way out full.
struct Transmission {
  std::uint32_t sent = 0;      // taken over
  std::uint32_t too_long = 0;  // for any buffer of the guest's, or for the interface
  std::uint32_t refused = 0;   // with what they leave to the device
  std::uint32_t lost = 0;      // on the way out, such as by a filter of the host's

  // Of `count` frames those that were not taken; and of one of them, whether there was no room for it.
  [[nodiscard]] std::uint32_t unsent(unsigned count) const { return first(count) & ~sent; }
  [[nodiscard]] bool found_full(unsigned i) const { return ((too_long | refused | lost) >> i & 1) == 0; }

  static constexpr unsigned kMostFrames = 32;
  // The bits of the first frames.
  static constexpr std::uint32_t first(unsigned count) {
    return static_cast<std::uint32_t>((std::uint64_t{1} << count) - 1);
  }
  // For devices that copy: those that were sent.
  void free_sent(rte_mbuf** frames, unsigned count) const {
    if (sent == first(count)) return free_burst(frames, count);
    for (std::uint32_t left = sent; left != 0; left &= left - 1)
      rte_pktmbuf_free(frames[std::countr_zero(left)]);
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
