// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/tap_queue.h"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

#include "dataplane/frame/new_frame.h"

namespace vmnat::dataplane {

using virtio::NetHeader;

void TapQueue::close() {
  descriptor_ = -1;
  rte_pktmbuf_free_bulk(room_.data() + room_.size() - ready_, ready_);
  ready_ = 0;
}

bool TapQueue::has_room(rte_mempool* pool) {
  const auto missing = static_cast<unsigned>(room_.size()) - ready_;
  if (missing != 0 && !new_frames(pool, room_.data(), missing)) return false;
  ready_ = static_cast<unsigned>(room_.size());
  return true;
}

// The first buffers of the room, which hold so many bytes.
rte_mbuf* TapQueue::frame_of(std::uint32_t length) {
  rte_mbuf* const frame = room_.front();
  rte_mbuf* last = frame;
  unsigned used = 1;
  for (std::uint32_t left = length;; last = last->next) {
    last->data_len = static_cast<std::uint16_t>(std::min<std::uint32_t>(left, rte_pktmbuf_tailroom(last)));
    left -= last->data_len;
    if (left == 0) break;
    last->next = room_[used++];
  }
  frame->pkt_len = length;
  frame->nb_segs = static_cast<std::uint16_t>(used);
  ready_ -= used;
  return frame;
}

std::uint16_t TapQueue::take(rte_mempool* pool, rte_mbuf** frames, std::uint16_t most) {
  if (!is_open()) return 0;
  std::uint16_t taken = 0;
  while (taken < most && has_room(pool)) {
    NetHeader header{};
    std::array<iovec, kMostFrameBuffers + 1> pieces;
    pieces[0] = {&header, kKernelHeaderBytes};
    for (unsigned i = 0; i < room_.size(); ++i)
      pieces[i + 1] = {rte_pktmbuf_mtod(room_[i], void*), rte_pktmbuf_tailroom(room_[i])};
    const ssize_t got = readv(descriptor_, pieces.data(), static_cast<int>(pieces.size()));
    if (got <= static_cast<ssize_t>(kKernelHeaderBytes)) break;
    frames[taken] = frame_of(static_cast<std::uint32_t>(got) - kKernelHeaderBytes);
    mark_by(frames[taken++], header);
  }
  return taken;
}

Transmission TapQueue::put(rte_mbuf* const* frames, std::uint16_t count) {
  Transmission result;
  if (!is_open()) return result;
  for (unsigned i = 0; i < std::min<unsigned>(count, Transmission::kMostFrames); ++i) {
    NetHeader header = header_for_kernel(frames[i]);
    std::array<iovec, kMostFrameBuffers + 1> pieces;
    if (frames[i]->nb_segs > kMostFrameBuffers) {
      result.refused.add(i);
      continue;
    }
    const unsigned used = pieces_of(header, frames[i], pieces.data());
    if (writev(descriptor_, pieces.data(), static_cast<int>(used)) >= 0)
      result.sent.add(i);
    else if (errno == EINVAL)
      result.refused.add(i);
    else
      break;
  }
  return result;
}

}  // namespace vmnat::dataplane
