// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/announcement.h"

#include <cstring>

#include "dataplane/frame/new_frame.h"
#include "dataplane/frame/packet.h"
#include "net/arp.h"

namespace vmnat::dataplane {

rte_mbuf* make_announcement(rte_mempool* pool, std::uint64_t mac_word) {
  rte_mbuf* const frame = new_frame(kShortestFrame, pool);
  if (frame == nullptr) return nullptr;
  net::MacAddr mac;
  std::memcpy(mac.bytes.data(), &mac_word, mac.bytes.size());
  net::ArpFrame content = net::arp_frame(mac, net::kBroadcastMac, net::ArpOperation::ReverseRequest);
  content.arp.target_mac = mac;
  auto* const bytes = rte_pktmbuf_mtod(frame, std::byte*);
  std::memset(bytes, 0, kShortestFrame);
  std::memcpy(bytes, &content, sizeof content);
  return frame;
}

}  // namespace vmnat::dataplane
