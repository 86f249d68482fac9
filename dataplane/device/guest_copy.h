// SPDX-License-Identifier: Apache-2.0
// Copies between frames and a guest's memory.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <rte_mbuf.h>
#include <rte_memcpy.h>

namespace vmnat::dataplane {

template <std::size_t size>
void copy_block(std::byte* to, const std::byte* from) {
  std::array<std::byte, size> block;
  std::memcpy(block.data(), from, size);
  std::memcpy(to, block.data(), size);
}

// Frames of up to 128 bytes without a call: from the start and up to the end, overlapping in the middle. By DPDK's
// registers, as compilers copy blocks of bytes by way of the stack.
inline void copy_frame(std::byte* to, const std::byte* from, std::size_t bytes) {
  auto* const out = static_cast<std::uint8_t*>(static_cast<void*>(to));
  const auto* const in = static_cast<const std::uint8_t*>(static_cast<const void*>(from));
  if (bytes > 128 || bytes < 32) {
    std::memcpy(to, from, bytes);
  } else if (bytes > 64) {
    rte_mov64(out, in);
    rte_mov64(out + bytes - 64, in + bytes - 64);
  } else {
    rte_mov32(out, in);
    rte_mov32(out + bytes - 32, in + bytes - 32);
  }
}

// Read as a whole, once.
template <typename T>
T read_once(const void* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return value;
}

inline const std::byte* data_of(const rte_mbuf* segment) {
  return rte_pktmbuf_mtod(segment, const std::byte*);
}

// To the frame, whose last buffer is `last`. False without buffers.
[[gnu::cold]] inline bool append(rte_mbuf* frame, rte_mbuf*& last, const std::byte* from, std::uint32_t bytes,
                                 rte_mempool* pool) {
  while (bytes > 0) {
    if (rte_pktmbuf_tailroom(last) == 0) {
      rte_mbuf* const more = rte_pktmbuf_alloc(pool);
      if (more == nullptr) return false;
      last->next = more;
      last = more;
      ++frame->nb_segs;
    }
    const std::uint32_t size = std::min<std::uint32_t>(bytes, rte_pktmbuf_tailroom(last));
    std::memcpy(rte_pktmbuf_mtod_offset(last, std::byte*, last->data_len), from, size);
    last->data_len = static_cast<std::uint16_t>(last->data_len + size);
    frame->pkt_len += size;
    from += size;
    bytes -= size;
  }
  return true;
}

}  // namespace vmnat::dataplane
