// SPDX-License-Identifier: Apache-2.0
// Kernel frames: how frames lie before the kernel, behind virtio's header without its number of buffers
// (PACKET_VNET_HDR, IFF_VNET_HDR), in pieces for readv(2) and its like.
#pragma once

#include <cstddef>
#include <rte_mbuf.h>
#include <sys/uio.h>

#include "dataplane/device/virtio.h"
#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {

inline constexpr std::size_t kKernelHeaderBytes = virtio::kShortNetHeader;
inline constexpr unsigned kMostFrameBuffers = kLongestFrame / 2048 + 2;  // that hold a frame

// For a frame that leaves, as its marks say.
virtio::NetHeader header_for_kernel(rte_mbuf* frame);
// Marks a frame that has arrived as its header says.
void mark_by(rte_mbuf* frame, const virtio::NetHeader& header);

// The header's piece and those of the frame's buffers; returns their number, kMostFrameBuffers + 1 at most for
// kLongestFrame.
unsigned pieces_of(virtio::NetHeader& header, rte_mbuf* frame, iovec* pieces);

}  // namespace vmnat::dataplane
