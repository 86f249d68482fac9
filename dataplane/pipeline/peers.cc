// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/peers.h"

#include <algorithm>
#include <optional>

#include "dataplane/context/filter_rules.h"
#include "dataplane/detours/icmp_error.h"
#include "dataplane/detours/refuse.h"
#include "dataplane/pipeline/parse.h"
#include "dataplane/pipeline/rules.h"
#include "dataplane/pipeline/steer.h"

namespace vmnat::dataplane {
namespace {

constexpr bool is_ipv4(PacketKind kind) {
  return kind != PacketKind::Unroutable && kind != PacketKind::Arp && kind != PacketKind::Fragment;
}

// The kinds whose first frame begins a flow.
constexpr bool opens_a_flow(PacketKind kind) {
  return kind == PacketKind::Tcp || kind == PacketKind::Udp || kind == PacketKind::IcmpRequest ||
         kind == PacketKind::Other;
}

// A segment that no answer is.
bool is_syn(const ParsedPacket& packet) {
  constexpr auto flags = net::TcpHeader::kSyn | net::TcpHeader::kAck;
  return packet.kind == PacketKind::Tcp && (packet.tcp_flags & flags) == net::TcpHeader::kSyn;
}

// A flow between two VMs, by the ports that these are known by.
struct Pair {
  PortIndex opener, other;
};

FlowSide side_of_opener(const FlowKey& key, std::uint8_t icmp_type, PortIndex other) {
  return {.protocol = key.protocol(),
          .icmp_type = icmp_type,
          .local_port = key.local_endpoint().port,
          .remote_port = key.remote_endpoint().port,
          .remote = key.remote_endpoint().address,
          .peer = other};
}

FlowSide side_of_other(const FlowKey& key, std::uint8_t icmp_type, PortIndex opener) {
  return {.protocol = key.protocol(),
          .icmp_type = icmp_type,
          .local_port = key.remote_endpoint().port,
          .remote_port = key.local_endpoint().port,
          .remote = key.local_endpoint().address,
          .peer = opener};
}

bool would_begin(const FilterRules& rules, const PeerFlows::Flow& flow, const Pair& pair) {
  const auto accepts = [&](PortIndex port, Direction direction, const FlowSide& side) {
    return rules.judge(port, direction, side).action == RuleAction::Accept;
  };
  return accepts(pair.opener, Direction::Outbound, side_of_opener(flow.key, flow.icmp_type, pair.other)) &&
         accepts(pair.other, Direction::Inbound, side_of_other(flow.key, flow.icmp_type, pair.opener));
}

// True: it is there, and the rules of now allow it.
bool goes_on(Context& context, const FlowKey& key, const Pair& pair) {
  PeerFlows::Flow* flow = context.peer_flows.find(key, pair.opener, context.now);
  if (flow == nullptr) return false;
  const FilterRules& rules = *context.state->rules;
  if (flow->epoch != rules.epoch()) {
    if (!would_begin(rules, *flow, pair)) {
      *flow = {};
      return false;
    }
    flow->epoch = rules.epoch();
  }
  flow->seen = context.now;
  return true;
}

// About a packet that the receiver has sent.
bool is_error_about_flow(Context& context, rte_mbuf* frame, const ParsedPacket& packet, const Pair& pair) {
  const auto quoted = quoted_key<Direction::Inbound>(frame, packet);
  return quoted &&
         (goes_on(context, *quoted, {pair.other, pair.opener}) || goes_on(context, quoted->answered(), pair));
}

// `pair`: from the sender to the receiver.
bool is_of_known_flow(Context& context, const Burst& burst, unsigned i, const Pair& pair) {
  const ParsedPacket& packet = burst.packets[i];
  const FlowKey& key = burst.keys[i];
  if (!is_ipv4(packet.kind)) return false;
  if (packet.kind == PacketKind::IcmpError)
    return is_error_about_flow(context, burst.frames[i], packet, pair);
  if (packet.kind != PacketKind::IcmpReply && goes_on(context, key, pair)) return true;
  if (is_syn(packet) || packet.kind == PacketKind::IcmpRequest) return false;
  return goes_on(context, key.answered(), {pair.other, pair.opener});
}

FlowSide sender_side(const Burst& burst, unsigned i, PortIndex to) {
  const ParsedPacket& packet = burst.packets[i];
  if (!is_ipv4(packet.kind)) return {.is_ipv4 = false, .peer = to};
  return side_of_opener(burst.keys[i], icmp_type_of(burst.frames[i], packet), to);
}

FlowSide receiver_side(const Burst& burst, unsigned i, PortIndex from) {
  const ParsedPacket& packet = burst.packets[i];
  if (!is_ipv4(packet.kind)) return {.is_ipv4 = false, .peer = from};
  return side_of_other(burst.keys[i], icmp_type_of(burst.frames[i], packet), from);
}

void note_flow(Context& context, const FlowKey& key, PortIndex opener, std::uint8_t icmp_type) {
  const bool had_room = context.peer_flows.note(
      {.key = key, .seen = context.now, .epoch = context.state->rules->epoch(), .icmp_type = icmp_type},
      opener);
  if (!had_room) context.counters.peer_flows_displaced.add(1);
}

// A segment in mid-stream is not reset: once its opener has said something the flow is known, as after a restart.
DropReason unless_mid_stream(DropReason reason, const ParsedPacket& packet) {
  return packet.kind == PacketKind::Tcp && !is_syn(packet) ? DropReason::Rule : reason;
}

// `burst.packets[i]` is no fragment, or the first of its datagram.
std::optional<DropReason> refusal_of_packet(Context& context, const Burst& burst, unsigned i,
                                            const Pair& pair) {
  if (is_of_known_flow(context, burst, i, pair)) return std::nullopt;
  rte_mbuf* frame = burst.frames[i];
  const ParsedPacket& packet = burst.packets[i];
  auto refusal =
      refusal_of_side(context, frame, pair.opener, Direction::Outbound, sender_side(burst, i, pair.other));
  if (!refusal)
    refusal =
        refusal_of_side(context, frame, pair.other, Direction::Inbound, receiver_side(burst, i, pair.opener));
  if (refusal) return unless_mid_stream(*refusal, packet);
  if (opens_a_flow(packet.kind)) note_flow(context, burst.keys[i], pair.opener, icmp_type_of(frame, packet));
  return std::nullopt;
}

bool is_later_piece(const Burst& burst, unsigned i) {
  return burst.packets[i].kind == PacketKind::Fragment && ipv4_of(burst.frames[i]).fragment_offset() != 0;
}

std::optional<DropReason> refusal_of_later_piece(Context& context, rte_mbuf* frame, PortIndex from) {
  const FlowKey key = PeerFlows::datagram_key(ipv4_of(frame));
  if (context.peer_flows.find(key, from, context.now) != nullptr) return std::nullopt;
  return DropReason::FragmentRefused;
}

// Its ports are known from here on, and pieces that follow may pass if it does. False: it is no fragment.
bool parse_first_piece(Burst& burst, unsigned i) {
  if (burst.packets[i].kind != PacketKind::Fragment) return false;
  parse_first_fragment<Direction::Outbound>(burst, i);
  return true;
}

void note_datagram(Context& context, rte_mbuf* frame, PortIndex from) {
  note_flow(context, PeerFlows::datagram_key(ipv4_of(frame)), from, 0);
}

std::optional<DropReason> refusal_to_pass(Context& context, Burst& burst, unsigned i, const Pair& pair) {
  rte_mbuf* frame = burst.frames[i];
  if (is_later_piece(burst, i)) return refusal_of_later_piece(context, frame, pair.opener);
  const bool is_first_piece = parse_first_piece(burst, i);
  const auto refusal = refusal_of_packet(context, burst, i, pair);
  if (is_first_piece && !refusal) note_datagram(context, frame, pair.opener);
  return refusal;
}

// What may be told to the sender is told of IPv4 alone.
void refuse_to_pass(Context& context, const Burst& burst, unsigned i, DropReason reason) {
  if (!is_ipv4(burst.packets[i].kind)) return context.drop(burst.frames[i], burst.ports[i], reason);
  refuse(context, burst, i, reason);
}

void pass_here(Context& context, Burst& burst, unsigned i, PortIndex to) {
  const FilterRules* rules = context.state->rules.get();
  if (rules != nullptr) {  // else they have gone meanwhile
    const Pair pair{rules->vm_at(burst.ports[i]), rules->vm_at(to)};
    if (const auto refusal = refusal_to_pass(context, burst, i, pair))
      return refuse_to_pass(context, burst, i, *refusal);
  }
  context.transmitter.send(*context.state, burst.frames[i], burst.ports[i], to);
}

}  // namespace

void pass_to_peer(Context& context, Burst& burst, unsigned i, PortIndex to) {
  const PortIndex from = burst.ports[i];
  rte_mbuf* frame = burst.frames[i];
  const ForwardingState& state = *context.state;
  if (burst.packets[i].kind == PacketKind::Arp) return context.transmitter.send(state, frame, from, to);
  const PortIndex lower = std::min(state.rules->vm_at(from), state.rules->vm_at(to));
  if (const WorkerIndex owner = state.ports[lower].owner; owner != context.worker) {
    note_of(frame).from = to;
    return hand_over(context, frame, from, owner, FrameNote::Errand::ToPeer);
  }
  pass_here(context, burst, i, to);
}

void end_at_peer(Context& context, Burst& burst) {
  for (unsigned i = 0; i < burst.count; ++i) pass_here(context, burst, i, note_of(burst.frames[i]).from);
  burst.count = 0;
}

bool is_let_out(Context& context, Burst& burst, unsigned i) {
  rte_mbuf* frame = burst.frames[i];
  const PortIndex from = burst.ports[i], vm = context.state->rules->vm_at(from);
  if (burst.packets[i].kind == PacketKind::Arp) return true;
  std::optional<DropReason> refusal;
  if (is_later_piece(burst, i)) {
    refusal = refusal_of_later_piece(context, frame, vm);
  } else {
    const bool is_first_piece = parse_first_piece(burst, i);
    refusal = refusal_of_side(context, frame, vm, Direction::Outbound, sender_side(burst, i, kAllPeers));
    if (is_first_piece && !refusal) note_datagram(context, frame, vm);
  }
  if (refusal) context.drop(frame, from, *refusal);
  return !refusal;
}

bool is_copy_let_in(Context& context, const Burst& burst, unsigned i, PortIndex to) {
  const FilterRules& rules = *context.state->rules;
  if (burst.packets[i].kind == PacketKind::Arp || is_later_piece(burst, i) || !rules.has_rules(to))
    return true;
  return !refusal_of_side(context, burst.frames[i], rules.vm_at(to), Direction::Inbound,
                          receiver_side(burst, i, rules.vm_at(burst.ports[i])));
}

}  // namespace vmnat::dataplane
