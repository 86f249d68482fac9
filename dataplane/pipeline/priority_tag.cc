// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/priority_tag.h"

#include <cstring>

#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {
namespace {

constexpr std::uint64_t kTagBeside = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
constexpr unsigned kMostTags = 4;  // as many as the guard looks through
constexpr std::size_t kAddresses = 2 * sizeof(net::MacAddr);

constexpr bool names_no_vlan(std::uint16_t control) {
  return (control & 0x0fff) == 0;
}

// Kernel interfaces, and NICs told to, hand the outermost tag over beside the frame.
bool remove_beside(rte_mbuf* frame) {
  if (!names_no_vlan(frame->vlan_tci)) return false;
  frame->ol_flags &= ~kTagBeside;
  frame->vlan_tci = 0;
  return true;
}

bool remove_within(rte_mbuf* frame) {
  if (frame->data_len < sizeof(net::EthernetHeader) + sizeof(net::VlanTag)) return false;
  const net::EthernetHeader& ethernet = ethernet_of(frame);
  const auto& tag = *rte_pktmbuf_mtod_offset(frame, const net::VlanTag*, sizeof ethernet);
  if (!net::is_vlan_tag(ethernet.ether_type()) || !names_no_vlan(tag.control.host())) return false;
  char* start = rte_pktmbuf_mtod(frame, char*);
  std::memmove(start + sizeof tag, start, kAddresses);
  rte_pktmbuf_adj(frame, sizeof tag);
  if (frame->l2_len >= sizeof tag) frame->l2_len -= sizeof tag;  // of an unfinished frame
  return true;
}

bool remove_outermost(rte_mbuf* frame) {
  const bool is_beside = (frame->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0;
  return is_beside ? remove_beside(frame) : remove_within(frame);
}

}  // namespace

bool remove_priority_tags(rte_mbuf* frame) {
  unsigned removed = 0;
  while (removed < kMostTags && remove_outermost(frame)) ++removed;
  return removed != 0;
}

}  // namespace vmnat::dataplane
