// SPDX-License-Identifier: Apache-2.0
// New frame: frames in one buffer each, for what vmnat makes itself, and for what it receives.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <rte_mbuf.h>
#include <rte_memcpy.h>
#include <span>

namespace vmnat::dataplane {

// How many bytes such a frame may have: a buffer's room.
std::size_t longest_new_frame(rte_mempool* pool);
// A frame of so many bytes, yet to be written. nullptr: no buffer is available, or none is that large.
rte_mbuf* new_frame(std::size_t length, rte_mempool* pool);
// The same, with these bytes.
rte_mbuf* new_frame(std::span<const std::byte> bytes, rte_mempool* pool);

// So many empty ones. False: there are not so many buffers, and none was taken. rte_pktmbuf_alloc_bulk() with fewer and
// wider stores: a buffer that comes from its pool has one user and no next one already (rte_mbuf.h).
inline bool new_frames(rte_mempool* pool, rte_mbuf** frames, unsigned count) {
  struct Fields {
    std::uint16_t data_off = RTE_PKTMBUF_HEADROOM, refcnt = 1, nb_segs = 1, port = RTE_MBUF_PORT_INVALID;
    std::uint64_t ol_flags = 0;
    std::array<std::byte, 16> others{};  // packet type, lengths, VLAN, hash
  };
  static_assert(offsetof(rte_mbuf, refcnt) - offsetof(rte_mbuf, data_off) == offsetof(Fields, refcnt));
  static_assert(offsetof(rte_mbuf, nb_segs) - offsetof(rte_mbuf, data_off) == offsetof(Fields, nb_segs));
  static_assert(offsetof(rte_mbuf, port) - offsetof(rte_mbuf, data_off) == offsetof(Fields, port));
  static_assert(offsetof(rte_mbuf, ol_flags) - offsetof(rte_mbuf, data_off) == offsetof(Fields, ol_flags));
  static_assert(offsetof(rte_mbuf, vlan_tci_outer) - offsetof(rte_mbuf, data_off) >= sizeof(Fields));
  static constexpr Fields kEmpty;
  if (rte_mempool_get_bulk(pool, static_cast<void**>(static_cast<void*>(frames)), count) != 0) return false;
  for (unsigned i = 0; i < count; ++i) {
    rte_mov32(static_cast<std::uint8_t*>(static_cast<void*>(&frames[i]->data_off)),
              static_cast<const std::uint8_t*>(static_cast<const void*>(&kEmpty)));
    frames[i]->tx_offload = 0;
  }
  return true;
}

}  // namespace vmnat::dataplane
