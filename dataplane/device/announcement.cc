// SPDX-License-Identifier: Apache-2.0
#include "dataplane/device/announcement.h"

#include <cstring>

#include "dataplane/frame/new_frame.h"
#include "dataplane/frame/packet.h"
#include "net/wire.h"

namespace vmnat::dataplane {
namespace {

constexpr std::uint16_t kReverseArp = 0x8035;    // EtherType
constexpr std::uint16_t kReverseArpRequest = 3;  // operation

struct Announcement {
  net::EthernetHeader ethernet;
  net::ArpPacket arp;
};
static_assert(sizeof(Announcement) == 42);

}  // namespace

rte_mbuf* make_announcement(rte_mempool* pool, std::uint64_t mac_word) {
  rte_mbuf* const frame = new_frame(kShortestFrame, pool);
  if (frame == nullptr) return nullptr;
  net::MacAddr mac;
  std::memcpy(mac.bytes.data(), &mac_word, mac.bytes.size());
  const Announcement content{
      .ethernet = {.destination = net::kBroadcastMac,
                   .source = mac,
                   .type = net::Be16::from_host(kReverseArp)},
      .arp = {.hardware_type = net::Be16::from_host(1),
              .protocol_type = net::Be16::from_host(static_cast<std::uint16_t>(net::EtherType::Ipv4)),
              .hardware_length = sizeof(net::MacAddr),
              .protocol_length = sizeof(net::Ipv4Addr),
              .operation = net::Be16::from_host(kReverseArpRequest),
              .sender_mac = mac,
              .sender_address = {},
              .target_mac = mac,
              .target_address = {}}};
  auto* const bytes = rte_pktmbuf_mtod(frame, std::byte*);
  std::memset(bytes, 0, kShortestFrame);
  std::memcpy(bytes, &content, sizeof content);
  return frame;
}

}  // namespace vmnat::dataplane
