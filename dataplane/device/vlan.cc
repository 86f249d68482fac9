// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/vlan.h"

#include <cstring>
#include <utility>

#include "dataplane/device/offload.h"
#include "net/wire.h"

namespace vmnat::dataplane {
namespace {

constexpr std::uint64_t kTagBeside = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
constexpr std::uint16_t kNumberBits = 0x0fff;
constexpr std::size_t kAddresses = 2 * sizeof(net::MacAddr);
constexpr std::uint16_t kTagBytes = sizeof(net::VlanTag);

bool is_beside(const rte_mbuf* frame) {
  return (frame->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0;
}

// In front of the others, in a buffer that is the frame's alone.
char* make_room(rte_mbuf*& frame) {
  const bool is_shared = rte_mbuf_refcnt_read(frame) != 1 || !RTE_MBUF_DIRECT(frame);
  if (is_shared || rte_pktmbuf_headroom(frame) < kTagBytes || frame->data_len < kAddresses) {
    rte_mbuf* const copy = rte_pktmbuf_copy(frame, frame->pool, 0, UINT32_MAX);
    if (copy == nullptr) return nullptr;
    rte_pktmbuf_free(std::exchange(frame, copy));
  }
  return rte_pktmbuf_prepend(frame, kTagBytes);
}

}  // namespace

std::optional<std::uint16_t> vlan_of(const rte_mbuf* frame) {
  if (is_beside(frame)) return frame->vlan_tci & kNumberBits;
  if (frame->data_len < sizeof(net::EthernetHeader) + kTagBytes) return std::nullopt;
  const auto& ethernet = *rte_pktmbuf_mtod(frame, const net::EthernetHeader*);
  if (!net::is_vlan_tag(ethernet.ether_type())) return std::nullopt;
  const auto& tag = *rte_pktmbuf_mtod_offset(frame, const net::VlanTag*, sizeof ethernet);
  return tag.control.host() & kNumberBits;
}

void remove_tag(rte_mbuf* frame) {
  if (is_beside(frame)) {
    frame->ol_flags &= ~kTagBeside;
    frame->vlan_tci = 0;
    return;
  }
  char* start = rte_pktmbuf_mtod(frame, char*);
  std::memmove(start + kTagBytes, start, kAddresses);
  rte_pktmbuf_adj(frame, kTagBytes);
  if (frame->l2_len >= kTagBytes) frame->l2_len -= kTagBytes;  // of an unfinished frame
}

bool add_tag(rte_mbuf*& frame, std::uint16_t vlan) {
  char* const start = make_room(frame);
  if (start == nullptr) return false;
  std::memmove(start, start + kTagBytes, kAddresses);
  const net::Be16 words[] = {net::Be16::from_host(static_cast<std::uint16_t>(net::EtherType::Vlan)),
                             net::Be16::from_host(vlan)};
  std::memcpy(start + kAddresses, words, sizeof words);
  if ((frame->ol_flags & kTransmitMarks) != 0) frame->l2_len += kTagBytes;
  return true;
}

}  // namespace vmnat::dataplane
