// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/kernel_frames.h"

#include "dataplane/device/claims.h"
#include "dataplane/device/offload.h"
#include "net/wire.h"

namespace vmnat::dataplane {

using virtio::NetHeader;

// Who cuts TCP must know of CWR, which only the first segment may have (RFC 3168 6.1.2).
NetHeader header_for_kernel(rte_mbuf* frame) {
  if ((frame->ol_flags & RTE_MBUF_F_TX_L4_MASK) == 0) return {};
  NetHeader header = virtio_header_of(frame);
  if ((frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG) == 0) return header;
  const auto* const tcp = rte_pktmbuf_mtod_offset(frame, const net::TcpHeader*, header.checksum_start);
  if ((tcp->flags & net::TcpHeader::kCwr) != 0) header.segmentation |= NetHeader::kEcn;
  return header;
}

void mark_by(rte_mbuf* frame, const NetHeader& header) {
  if ((header.flags & NetHeader::kNeedsChecksum) != 0 || header.segmentation != 0)
    mark_unfinished(frame, header);
}

unsigned pieces_of(NetHeader& header, rte_mbuf* frame, iovec* pieces) {
  unsigned count = 0;
  pieces[count++] = {&header, kKernelHeaderBytes};
  for (rte_mbuf* buffer = frame; buffer != nullptr; buffer = buffer->next)
    pieces[count++] = {rte_pktmbuf_mtod(buffer, void*), buffer->data_len};
  return count;
}

}  // namespace vmnat::dataplane
