// SPDX-License-Identifier: Apache-2.0
#include "dataplane/observe/frame_view.h"

#include <algorithm>
#include <cstring>

namespace vmnat::dataplane {
namespace {

constexpr std::uint16_t kTagType = 0x8100;

}  // namespace

bool FrameView::read(std::uint32_t offset, std::uint32_t size, std::uint32_t& number) const {
  if (size > length() || offset > length() - size) return false;
  unsigned char bytes[4];
  copy_range(offset, size, bytes);
  number = 0;
  for (std::uint32_t i = 0; i < size; ++i) number = number << 8 | bytes[i];
  return true;
}

void FrameView::copy(std::uint32_t count, void* to) const {
  copy_range(0, count, static_cast<unsigned char*>(to));
}

void FrameView::copy_untagged(std::uint32_t offset, std::uint32_t count, unsigned char* to) const {
  const rte_mbuf* buffer = frame_;
  for (; offset >= buffer->data_len && count != 0; buffer = buffer->next) offset -= buffer->data_len;
  for (; count != 0; buffer = buffer->next, offset = 0) {
    const std::uint32_t here = std::min(count, buffer->data_len - offset);
    std::memcpy(to, rte_pktmbuf_mtod_offset(buffer, const unsigned char*, offset), here);
    to += here;
    count -= here;
  }
}

void FrameView::copy_range(std::uint32_t offset, std::uint32_t count, unsigned char* to) const {
  if (!has_tag_) return copy_untagged(offset, count, to);
  const unsigned char tag[kTag] = {kTagType >> 8, kTagType & 0xff,
                                   static_cast<unsigned char>(frame_->vlan_tci >> 8),
                                   static_cast<unsigned char>(frame_->vlan_tci & 0xff)};
  for (std::uint32_t i = offset; i < std::min(offset + count, kAddresses + kTag); ++i, ++to) {
    if (i < kAddresses)
      copy_untagged(i, 1, to);
    else
      *to = tag[i - kAddresses];
  }
  const std::uint32_t begin = std::max(offset, kAddresses + kTag);
  if (begin < offset + count) copy_untagged(begin - kTag, offset + count - begin, to);
}

}  // namespace vmnat::dataplane
