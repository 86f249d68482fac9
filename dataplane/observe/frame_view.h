// SPDX-License-Identifier: Apache-2.0
// FrameView: a frame as it was, or will be, on its wire: over all of its buffers, and with the VLAN tag that a NIC
// has handed over beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <rte_mbuf.h>

namespace vmnat::dataplane {

class FrameView {
 public:
  explicit FrameView(const rte_mbuf* frame)
      : frame_(frame),
        has_tag_((frame->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0 && frame->pkt_len >= kAddresses) {}

  [[nodiscard]] std::uint32_t length() const { return frame_->pkt_len + (has_tag_ ? kTag : 0); }

  // `size` bytes, 4 at most, from `offset` on, as a big-endian number. False: the frame does not have them.
  [[nodiscard]] bool read(std::uint32_t offset, std::uint32_t size, std::uint32_t& number) const;
  // Its first bytes, as many as it has at least.
  void copy(std::uint32_t count, void* to) const;

 private:
  static constexpr std::uint32_t kAddresses = 12, kTag = 4;

  void copy_untagged(std::uint32_t offset, std::uint32_t count, unsigned char* to) const;
  void copy_range(std::uint32_t offset, std::uint32_t count, unsigned char* to) const;

  const rte_mbuf* frame_;
  bool has_tag_;
};

}  // namespace vmnat::dataplane
