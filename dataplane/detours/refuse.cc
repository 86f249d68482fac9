// SPDX-License-Identifier: Apache-2.0
#include "dataplane/detours/refuse.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>

#include "dataplane/detours/tcp_reset.h"
#include "dataplane/frame/new_frame.h"
#include "net/checksum.h"

namespace vmnat::dataplane {
namespace {

using net::IcmpHeader;
using net::IcmpType;
using net::Ipv4Header;

constexpr std::size_t kHeaders = sizeof(net::EthernetHeader) + sizeof(Ipv4Header) + sizeof(IcmpHeader);
// RFC 1812 4.3.2.3: as much as fits in a packet of 576 bytes.
constexpr std::size_t kMaxQuote = 576 - sizeof(Ipv4Header) - sizeof(IcmpHeader);
constexpr std::uint8_t kInternetworkControl = 0xc0;  // RFC 1812 4.3.2.5

struct Answer {
  IcmpType type;
  std::uint8_t code;
  std::uint16_t mtu = 0;
};
constexpr std::uint8_t kNetUnreachable = 0, kHostUnreachable = 1, kProtocolUnreachable = 2,
                       kPortUnreachable = 3, kFragmentationNeeded = 4, kProhibited = 13;

constexpr Answer unreachable(std::uint8_t code, std::uint16_t mtu = 0) {
  return {IcmpType::DestinationUnreachable, code, mtu};
}

std::optional<Answer> answer_to_service(PacketKind kind) {
  switch (kind) {
    case PacketKind::Tcp:
    case PacketKind::Udp:
      return unreachable(kPortUnreachable);
    case PacketKind::Other:
      return unreachable(kProtocolUnreachable);
    default:
      return std::nullopt;
  }
}

// The egress MTU that the frame exceeds. A frame from an uplink leaves by its session's port.
std::uint16_t exceeded_mtu(const Context& context, const Burst& burst, unsigned i) {
  const ForwardingState& state = *context.state;
  const PortIndex from = burst.ports[i];
  return state.egress_mtu(state.is_uplink(from) ? burst.sessions[i]->vm_port()
                                                : state.uplink_port(state.ports[from].network));
}

// RFC 5508 REQ-8 says prohibited, RFC 6888 REQ-11 host unreachable. Who is outside has no setting.
std::optional<Answer> answer_to_exhaustion(const ForwardingState& state, PortIndex from) {
  if (state.is_uplink(from)) return unreachable(kProhibited);
  switch (state.network_at(from).exhaustion_answer) {
    case ExhaustionAnswer::HostUnreachable:
      return unreachable(kHostUnreachable);
    case ExhaustionAnswer::Nothing:
      return std::nullopt;
    case ExhaustionAnswer::Prohibited:
      break;
  }
  return unreachable(kProhibited);
}

std::optional<Answer> answer_to(DropReason reason, const Context& context, const Burst& burst, unsigned i) {
  const PacketKind kind = burst.packets[i].kind;
  if (is_exhaustion(reason)) return answer_to_exhaustion(*context.state, burst.ports[i]);
  switch (reason) {
    case DropReason::TtlExpired:
      return Answer{IcmpType::TimeExceeded, 0};
    case DropReason::TooBig:
      return unreachable(kFragmentationNeeded, exceeded_mtu(context, burst, i));
    case DropReason::RuleReject:
      if (kind == PacketKind::Tcp && (burst.packets[i].tcp_flags & net::TcpHeader::kRst) != 0)
        return std::nullopt;
      return unreachable(kProhibited);
    case DropReason::BetweenNetworks:
    case DropReason::NoForwarding:
      return unreachable(kProhibited);
    case DropReason::NoUplinkAddress:
    case DropReason::LinkLocal:
    case DropReason::NoRoute:
      return unreachable(kNetUnreachable);
    case DropReason::HostUnresolved:
    case DropReason::NeighborUnresolved:
      return unreachable(kHostUnreachable);
    case DropReason::GatewayService:
    case DropReason::HostService:
      return answer_to_service(kind);
    case DropReason::NoSession:
      if (kind == PacketKind::Udp) return unreachable(kPortUnreachable);
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

// The sender is a host of where the frame came from: nobody is answered in another's name.
bool is_sender_credible(const Context& context, PortIndex from, net::Ipv4Addr sender) {
  if (context.state->is_uplink(from)) return context.is_credible_remote(sender);
  return context.state->network_at(from).has_host(sender);
}

bool may_be_answered(const Context& context, rte_mbuf* frame, PacketKind kind, PortIndex from) {
  const Ipv4Header& ip = ipv4_of(frame);
  return kind != PacketKind::IcmpError && ip.fragment_offset() == 0 &&
         !ethernet_of(frame).destination.is_group() && !ip.destination.is_multicast() &&
         !ip.destination.is_limited_broadcast() && is_sender_credible(context, from, ip.source);
}

void write_message(std::span<std::byte> message, const Answer& answer, std::span<const std::byte> quote) {
  auto& icmp = *net::mutable_view<IcmpHeader>(message);
  icmp = {.type = answer.type, .code = answer.code, .sequence = net::Be16::from_host(answer.mtu)};
  std::memcpy(message.data() + sizeof icmp, quote.data(), quote.size());
  icmp.checksum = net::checksum_of(net::added_sum(message));
}

void write_ip(std::span<std::byte> packet, net::Ipv4Addr source, net::Ipv4Addr destination) {
  auto& ip = *net::mutable_view<Ipv4Header>(packet);
  ip = {.version_ihl = 0x45,
        .tos = kInternetworkControl,
        .total_length = net::Be16::from_host(static_cast<std::uint16_t>(packet.size())),
        .ttl = net::kInitialTtl,
        .protocol_number = static_cast<std::uint8_t>(net::Protocol::Icmp),
        .source = source,
        .destination = destination};
  net::write_checksum(ip);
}

// nullptr when there is no buffer for it.
rte_mbuf* error_about(const Context& context, rte_mbuf* frame, std::uint16_t total_length, PortIndex from,
                      const Answer& answer) {
  const std::span<const std::byte> packet{
      rte_pktmbuf_mtod_offset(frame, const std::byte*, sizeof(net::EthernetHeader)),
      std::min<std::size_t>(total_length, frame->data_len - sizeof(net::EthernetHeader))};
  const auto quote = packet.first(std::min(packet.size(), kMaxQuote));
  const std::size_t length = kHeaders + quote.size();
  rte_mbuf* error = new_frame(length, frame->pool);
  if (error == nullptr) return nullptr;
  const std::span<std::byte> bytes{rte_pktmbuf_mtod(error, std::byte*), length};
  const net::EthernetHeader& ethernet = ethernet_of(frame);
  const bool is_from_outside = context.state->is_uplink(from);
  ethernet_of(error) = {
      .destination = ethernet.source,
      .source = is_from_outside ? ethernet.destination : context.state->network_at(from).mac,
      .type = ethernet.type};
  const Ipv4Header& ip = ipv4_of(frame);
  const net::Ipv4Addr own_address =
      is_from_outside ? ip.destination : context.state->network_at(from).gateway.address;
  const auto own_packet = bytes.subspan(sizeof ethernet);
  write_message(own_packet.subspan(sizeof ip), answer, quote);
  write_ip(own_packet, own_address, ip.source);
  return error;
}

void send_error(Context& context, const Burst& burst, unsigned i, const Answer& answer) {
  rte_mbuf* error = nullptr;
  if (context.take_icmp_error(burst.ports[i]))
    error = error_about(context, burst.frames[i], burst.packets[i].total_length, burst.ports[i], answer);
  if (error == nullptr) return context.counters.icmp_errors_suppressed.add(1);
  context.counters.count_made(&WorkerCounters::icmp_errors_sent, burst.ports[i], 1);
  context.transmitter.send(*context.state, error, burst.ports[i], burst.ports[i]);
}

// A RST answers none, and a fragment does not say what it acknowledges the end of.
bool may_be_reset(const Burst& burst, unsigned i) {
  const ParsedPacket& packet = burst.packets[i];
  return packet.kind == PacketKind::Tcp && (packet.tcp_flags & net::TcpHeader::kRst) == 0 &&
         !ipv4_of(burst.frames[i]).is_fragment();
}

bool is_to_be_reset(const Context& context, const Burst& burst, unsigned i, DropReason reason) {
  if (!may_be_reset(burst, i)) return false;
  if (reason == DropReason::RuleReject) return true;
  return reason == DropReason::TcpNotSyn && !context.state->is_uplink(burst.ports[i]) &&
         context.state->network_at(burst.ports[i]).resets_mid_stream;
}

void send_reset(Context& context, const Burst& burst, unsigned i) {
  rte_mbuf* reset = nullptr;
  if (context.take_icmp_error(burst.ports[i])) reset = reset_about(burst.frames[i], burst.packets[i]);
  if (reset == nullptr) return context.counters.tcp_resets_suppressed.add(1);
  context.counters.count_made(&WorkerCounters::tcp_resets_sent, burst.ports[i], 1);
  context.transmitter.send(*context.state, reset, burst.ports[i], burst.ports[i]);
}

}  // namespace

DropReason reason_of(conntrack::Verdict verdict) {
  switch (verdict) {
    case conntrack::Verdict::TcpNotSyn:
      return DropReason::TcpNotSyn;
    case conntrack::Verdict::SessionLimit:
      return DropReason::SessionLimit;
    case conntrack::Verdict::SessionRate:
      return DropReason::SessionRate;
    case conntrack::Verdict::TableFull:
      return DropReason::SessionTableFull;
    case conntrack::Verdict::Filtered:
      return DropReason::Filtered;
    default:
      return DropReason::NoPort;
  }
}

void refuse(Context& context, const Burst& burst, unsigned i, DropReason reason) {
  rte_mbuf* frame = burst.frames[i];
  const PacketKind kind = burst.packets[i].kind;
  if (is_unfinished(frame)) finish_checksum(frame);  // an error quotes it
  const auto answer = answer_to(reason, context, burst, i);
  if (is_exhaustion(reason))
    context.refused_remotes.note(burst.keys[i].remote_endpoint().address, burst.ports[i], reason);
  const bool is_reset = is_to_be_reset(context, burst, i, reason);
  if ((answer || is_reset) && may_be_answered(context, frame, kind, burst.ports[i])) {
    if (is_reset)
      send_reset(context, burst, i);
    else
      send_error(context, burst, i, *answer);
  }
  context.drop(frame, burst.ports[i], reason);
}

}  // namespace vmnat::dataplane
