// SPDX-License-Identifier: Apache-2.0
// New frame: frames that vmnat makes itself, in one buffer each.
#pragma once

#include <cstddef>
#include <rte_mbuf.h>
#include <span>

namespace vmnat::dataplane {

// How many bytes such a frame may have: a buffer's room.
std::size_t longest_new_frame(rte_mempool* pool);
// A frame of so many bytes, yet to be written. nullptr: no buffer is available, or none is that large.
rte_mbuf* new_frame(std::size_t length, rte_mempool* pool);
// The same, with these bytes.
rte_mbuf* new_frame(std::span<const std::byte> bytes, rte_mempool* pool);

}  // namespace vmnat::dataplane
