// SPDX-License-Identifier: Apache-2.0
// FrameReader: headers at any offset of a frame, wherever its buffers end. For what is rarely looked at.
//
// Bytes behind the frame's end read as zero: that is what a short frame is filled up with on its way to
// another guest, by a NIC or by a VMM, so nothing is gained by leaving off the end of a header.
#pragma once

#include <algorithm>
#include <cstring>
#include <rte_mbuf.h>

#include "net/wire.h"

namespace vmnat::dataplane {

class FrameReader {
 public:
  explicit FrameReader(const rte_mbuf* frame) : frame_(frame) {}

  [[nodiscard]] std::uint32_t size() const { return frame_->pkt_len; }

  template <net::WireFormat T>
  [[nodiscard]] T read(std::uint32_t offset) const {
    T header{};
    const std::uint32_t there = std::min<std::uint32_t>(sizeof(T), size() - std::min(offset, size()));
    if (there == 0) return header;
    const void* bytes = rte_pktmbuf_read(frame_, offset, there, &header);
    if (bytes != &header) std::memcpy(&header, bytes, there);
    return header;
  }

 private:
  const rte_mbuf* frame_;
};

}  // namespace vmnat::dataplane
