// SPDX-License-Identifier: Apache-2.0
#include "dataplane/detours/local.h"

#include <utility>

#include "net/arp.h"
#include "net/checksum.h"

namespace vmnat::dataplane {
namespace {

constexpr std::uint16_t kDhcpServerPort = 67, kDhcpClientPort = 68;

void return_to_sender(rte_mbuf* frame, net::MacAddr from) {
  net::EthernetHeader& ethernet = ethernet_of(frame);
  ethernet.destination = ethernet.source;
  ethernet.source = from;
}

// Incremental, so that a message that came damaged is not made whole, and one in fragments need not be.
void make_reply(net::IcmpHeader& icmp) {
  const auto delta = net::ChecksumDelta::of(static_cast<std::uint16_t>(icmp.type),
                                            static_cast<std::uint16_t>(net::IcmpType::EchoReply));
  icmp.type = net::IcmpType::EchoReply;
  icmp.checksum = delta.applied_to(icmp.checksum);
}

// How a DHCP message begins (RFC 2131 section 2).
struct MessageStart {
  std::uint8_t op, hardware_type, hardware_length, hops;
  net::Be32 transaction;
};
static_assert(sizeof(MessageStart) == 8 && alignof(MessageStart) == 1);
constexpr std::uint8_t kReply = 2;

bool is_reply(rte_mbuf* frame, std::size_t offset, std::uint32_t transaction) {
  if (frame->data_len < offset + sizeof(MessageStart)) return false;
  const auto& message = *rte_pktmbuf_mtod_offset(frame, const MessageStart*, offset);
  return message.op == kReply && message.transaction.host() == transaction;
}

}  // namespace

bool is_dhcp_request(rte_mbuf* frame, const ParsedPacket& packet) {
  return packet.kind == PacketKind::Udp &&
         l4_of<net::UdpHeader>(frame, packet).destination_port.host() == kDhcpServerPort;
}

bool is_for_dhcp_client(const Context& context, rte_mbuf* frame, const ParsedPacket& packet, PortIndex from) {
  if (!context.state->is_uplink(from)) return false;
  const auto& transaction = context.state->uplinks[from].dhcp_transaction;
  return transaction && packet.kind == PacketKind::Udp &&
         l4_of<net::UdpHeader>(frame, packet).destination_port.host() == kDhcpClientPort &&
         is_reply(frame, packet.l4_offset + sizeof(net::UdpHeader), *transaction);
}

bool is_for_prober(const Context& context, const Burst& burst, unsigned i) {
  if (burst.packets[i].kind != PacketKind::IcmpReply || !context.state->is_uplink(burst.ports[i]))
    return false;
  const Uplink& uplink = context.state->uplinks[burst.ports[i]];
  const FlowKey& key = burst.keys[i];
  return !uplink.probe.is_unspecified() && key.remote_endpoint().address == uplink.probe &&
         key.local_endpoint() == net::Endpoint{uplink.address.address, {}};
}

void answer_arp(Context& context, rte_mbuf* frame, PortIndex port, net::MacAddr mac) {
  trim(frame, kShortestFrame);
  return_to_sender(frame, mac);
  auto& arp = *rte_pktmbuf_mtod_offset(frame, net::ArpPacket*, sizeof(net::EthernetHeader));
  arp = net::arp_reply(arp, mac).arp;
  context.transmitter.send(*context.state, frame, port, port);
}

bool is_echo_request(rte_mbuf* frame, const ParsedPacket& packet) {
  return packet.kind == PacketKind::LaterEchoFragment ||
         (packet.kind == PacketKind::IcmpRequest &&
          l4_of<net::IcmpHeader>(frame, packet).type == net::IcmpType::EchoRequest);
}

void answer_echo(Context& context, rte_mbuf* frame, const ParsedPacket& packet, PortIndex port) {
  return_to_sender(frame, ethernet_of(frame).destination);
  net::Ipv4Header& ip = ipv4_of(frame);
  std::swap(ip.source, ip.destination);
  ip.ttl = net::kInitialTtl;
  net::write_checksum(ip);
  if (packet.kind == PacketKind::IcmpRequest) make_reply(l4_of<net::IcmpHeader>(frame, packet));
  context.transmitter.send(*context.state, frame, port, port);
}

}  // namespace vmnat::dataplane
