// SPDX-License-Identifier: Apache-2.0
#include "dataplane/frame/new_frame.h"

#include <cstdint>
#include <cstring>

namespace vmnat::dataplane {

std::size_t longest_new_frame(rte_mempool* pool) {
  return rte_pktmbuf_data_room_size(pool) - std::size_t{RTE_PKTMBUF_HEADROOM};
}

rte_mbuf* new_frame(std::size_t length, rte_mempool* pool) {
  rte_mbuf* const frame = rte_pktmbuf_alloc(pool);
  if (frame == nullptr) return nullptr;
  if (length > rte_pktmbuf_tailroom(frame)) {
    rte_pktmbuf_free(frame);
    return nullptr;
  }
  rte_pktmbuf_append(frame, static_cast<std::uint16_t>(length));
  return frame;
}

rte_mbuf* new_frame(std::span<const std::byte> bytes, rte_mempool* pool) {
  rte_mbuf* const frame = new_frame(bytes.size(), pool);
  if (frame != nullptr) std::memcpy(rte_pktmbuf_mtod(frame, std::byte*), bytes.data(), bytes.size());
  return frame;
}

}  // namespace vmnat::dataplane
