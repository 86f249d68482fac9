// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/host.h"

#include <optional>

#include "dataplane/detours/icmp_error.h"
#include "dataplane/detours/refuse.h"
#include "dataplane/pipeline/fragments.h"
#include "dataplane/pipeline/parse.h"
#include "dataplane/pipeline/steer.h"
#include "dataplane/pipeline/switch.h"

namespace vmnat::dataplane {
namespace {

// The address that the frame comes from; of ARP, the one that it claims.
net::Ipv4Addr sender_of(rte_mbuf* frame, const ParsedPacket& packet) {
  return packet.kind == PacketKind::Arp ? arp_of(frame).sender_address : ipv4_of(frame).source;
}

std::optional<DropReason> refusal_of_hosts_frame(const Network& network, rte_mbuf* frame,
                                                 const ParsedPacket& packet) {
  if (packet.kind == PacketKind::Unroutable) return packet.fault;
  const net::EthernetHeader& ethernet = ethernet_of(frame);
  if (ethernet.source != network.mac) return DropReason::SpoofedMac;
  const net::Ipv4Addr sender = sender_of(frame, packet);
  const bool is_probe = packet.kind == PacketKind::Arp && sender.is_unspecified();  // RFC 5227
  if (sender != network.gateway.address && !is_probe) return DropReason::SpoofedAddress;
  if (ethernet.destination == network.mac) return DropReason::SamePort;
  return std::nullopt;
}

constexpr bool opens_a_flow(PacketKind kind) {
  return kind == PacketKind::Tcp || kind == PacketKind::Udp || kind == PacketKind::IcmpRequest ||
         kind == PacketKind::Other;
}

// What comes from an open service needs no flow while that is open; TCP's go on when it closes. They have a table of
// their own, because VMs fill it as they like.
void note_flow(Context& context, const HostSide& host, Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  ParsedPacket& packet = burst.packets[i];
  if (packet.kind == PacketKind::Fragment && ipv4_of(frame).fragment_offset() == 0)
    parse_first_fragment<Direction::Outbound>(burst, i);
  if (!opens_a_flow(packet.kind) || ethernet_of(frame).destination.is_group()) return;
  const FlowKey& flow = burst.keys[i];
  if (host.has_service(flow.protocol(), flow.local_endpoint().port)) {
    if (packet.kind == PacketKind::Tcp) context.served_flows.note(flow, context.now);
    return;
  }
  if (!context.host_flows.note(flow, context.now)) context.counters.host_flows_displaced.add(1);
}

bool is_known(const Context& context, const FlowKey& flow) {
  return context.host_flows.has(flow, context.now) || context.served_flows.has(flow, context.now);
}

bool is_of_host(const Context& context, const HostSide& host, const FlowKey& flow) {
  return host.has_service(flow.protocol(), flow.local_endpoint().port) || is_known(context, flow);
}

bool is_about_host(const Context& context, const Network& network, rte_mbuf* frame,
                   const ParsedPacket& packet) {
  const auto flow = quoted_key<Direction::Inbound>(frame, packet);
  return flow && flow->local_endpoint().address == network.gateway.address &&
         is_of_host(context, network.host, *flow);
}

// Of a connection that nobody has asked the host for.
bool is_opening(const ParsedPacket& packet) {
  constexpr auto flags = net::TcpHeader::kSyn | net::TcpHeader::kAck;
  return packet.kind == PacketKind::Tcp && (packet.tcp_flags & flags) == net::TcpHeader::kSyn;
}

std::optional<DropReason> refusal_to_host(const Context& context, const Network& network, const Burst& burst,
                                          unsigned i) {
  const ParsedPacket& packet = burst.packets[i];
  const FlowKey& key = burst.keys[i];
  if (!network.host.is_there()) return DropReason::GatewayService;  // it has gone meanwhile
  switch (packet.kind) {
    case PacketKind::IcmpError:
      if (is_about_host(context, network, burst.frames[i], packet)) return std::nullopt;
      return DropReason::IcmpError;
    case PacketKind::IcmpRequest:
      return DropReason::GatewayService;
    default:
      break;
  }
  if (network.host.has_service(key.protocol(), key.remote_endpoint().port)) return std::nullopt;
  if (!is_opening(packet) && is_known(context, key.answered())) return std::nullopt;
  return DropReason::HostService;
}

}  // namespace

void switch_from_host(Context& context, Burst& burst, unsigned i) {
  const Network& network = context.state->network_at(burst.ports[i]);
  rte_mbuf* frame = burst.frames[i];
  if (const auto refusal = refusal_of_hosts_frame(network, frame, burst.packets[i]))
    return context.drop(frame, burst.ports[i], *refusal);
  note_flow(context, network.host, burst, i);
  send_from_host(context, network, frame, burst.ports[i]);
}

void pass_to_host(Context& context, const Burst& burst, unsigned i) {
  const Network& network = context.state->network_at(burst.ports[i]);
  const PortIndex host = network.host.port;
  const WorkerIndex owner = context.state->ports[host].owner;
  rte_mbuf* frame = burst.frames[i];
  if (network.host.is_there() && owner != context.worker)
    return hand_over(context, frame, burst.ports[i], owner, FrameNote::Errand::ToHost);
  if (const auto refusal = refusal_to_host(context, network, burst, i))
    return refuse(context, burst, i, *refusal);
  context.transmitter.send(*context.state, frame, burst.ports[i], host);
}

void end_at_host(Context& context, Burst& burst) {
  if (burst.has_fragments) restore_keys<Direction::Outbound>(burst);
  for (unsigned i = 0; i < burst.count; ++i) pass_to_host(context, burst, i);
  burst.count = 0;
}

bool is_group_for_host(const Network& network, rte_mbuf* frame, const ParsedPacket& packet) {
  if (!network.host.is_there()) return false;
  return packet.kind == PacketKind::Arp ||
         (packet.kind == PacketKind::Udp &&
          network.host.has_service(net::Protocol::Udp,
                                   l4_of<net::UdpHeader>(frame, packet).destination_port));
}

}  // namespace vmnat::dataplane
