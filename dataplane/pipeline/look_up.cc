// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline/look_up.h"

#include <array>
#include <span>

#include "base/fibonacci_hash.h"
#include "dataplane/detours/icmp_error.h"
#include "dataplane/detours/refuse.h"
#include "dataplane/pipeline/inbound_flow.h"
#include "dataplane/pipeline/outbound_flow.h"

namespace vmnat::dataplane {
namespace {

template <Direction direction>
WorkerIndex port_owner(const Context& context, PortIndex from, const FlowKey& key) {
  if constexpr (direction == Direction::Outbound) return inside_owner(context, from, key.local_endpoint());
  const net::Endpoint external = key.local_endpoint();
  const auto address = context.external_ports.index_of(external.address);
  if (!address) return context.worker;
  const WorkerIndex owner = context.external_ports.owner(*address, external.port);
  return owner == kNoWorker ? context.worker : owner;
}

template <Direction direction>
WorkerIndex owner_by_key(const Context& context, PortIndex from, const FlowKey& key) {
  if (conntrack::port_space(key.protocol()) == conntrack::PortSpace::None)
    return context.external_ports.portless_owner(key.remote_endpoint().address);
  if (const Forward* forward = context.state->forward_of(key.local_endpoint(), key.protocol()))
    return forward_owner(context, *forward);
  return port_owner<direction>(context, from, key);
}

// An error belongs where the session of the packet is that it quotes.
template <Direction direction>
[[gnu::cold]] WorkerIndex icmp_error_owner(const Context& context, PortIndex from, rte_mbuf* frame,
                                           const ParsedPacket& packet) {
  const auto key = quoted_key<direction>(frame, packet);
  return key ? owner_by_key<direction>(context, from, *key) : context.worker;
}

template <Direction direction>
WorkerIndex session_owner(const Context& context, const Burst& burst, unsigned i) {
  const ParsedPacket& packet = burst.packets[i];
  // No port block would name the owner.
  if (packet.kind == PacketKind::Other)
    return context.external_ports.portless_owner(burst.keys[i].remote_endpoint().address);
  if (packet.kind == PacketKind::IcmpError)
    return icmp_error_owner<direction>(context, burst.port, burst.frames[i], packet);
  return port_owner<direction>(context, burst.port, burst.keys[i]);
}

// Fetches the memory that opening will need, for all frames of the burst that may open a session.
void prefetch_openings(Context& context, Burst& burst) {
  std::array<conntrack::OutboundFlow, kBurstSize> flows;
  std::array<std::uint8_t, kBurstSize> frames;
  unsigned count = 0;
  for (unsigned i = 0; i < burst.count; ++i) {
    if (burst.sessions[i] != nullptr) continue;
    flows[count].key = burst.keys[i];
    frames[count++] = static_cast<std::uint8_t>(i);
  }
  context.conntrack.prefetch_open(std::span{flows}.first(count), context.state->ports[burst.port].network);
  for (unsigned at = 0; at < count; ++at) burst.probable_ports[frames[at]] = flows[at].probable_port;
}

// Each missing session is opened, or its frame ends.
template <Direction direction>
[[gnu::cold]] void open_missed(Context& context, Burst& burst) {
  StageClock clock(context.counters.stages);
  unsigned missed = 0;
  if constexpr (direction == Direction::Outbound) prefetch_openings(context, burst);
  for (unsigned i = 0; i < burst.count; ++i) {
    if (burst.sessions[i] != nullptr) continue;
    // Anew for each: an ICMP error turns round as a burst of its own.
    context.conntrack.spare(std::span{burst.sessions, burst.count});
    burst.sessions[i] = session_after_miss<direction>(context, burst, i);
    ++missed;
  }
  context.conntrack.spare({});
  clock.lap(Stage::NewFlow, missed);
}

}  // namespace

WorkerIndex inside_owner(const Context& context, PortIndex port, net::Endpoint internal) {
  const Port& of = context.state->ports[port];
  if (!of.is_spread) return of.owner;
  return static_cast<WorkerIndex>(
      scaled_below(context.worker_count, fibonacci_hash(FlowKey::pack(internal))));
}

WorkerIndex outside_owner(const Context& context, const FlowKey& key) {
  return owner_by_key<Direction::Inbound>(context, kUplinkPort, key);
}

template <Direction direction>
void hand_over(Context& context, rte_mbuf* frame, PortIndex from, WorkerIndex owner) {
  hand_over(context, frame, from, owner,
            direction == Direction::Outbound ? FrameNote::Errand::Outbound : FrameNote::Errand::Inbound);
}

void hand_over(Context& context, rte_mbuf* frame, PortIndex from, WorkerIndex owner,
               FrameNote::Errand errand) {
  note_of(frame).port = from;  // a fragment's note holds more
  note_of(frame).errand = errand;
  if (!context.rings.handoff_to[owner].push(frame)) return context.drop(frame, from, DropReason::HandoffFull);
  context.counters.handoff_frames.add(1);
}

template <Direction direction>
void steer(Context& context, Burst& burst) {
  if (context.worker_count == 1) return;
  burst.keep_if([&](unsigned i) {
    const WorkerIndex owner = session_owner<direction>(context, burst, i);
    if (owner == context.worker) return true;
    hand_over<direction>(context, burst.frames[i], burst.port, owner);
    return false;
  });
}

template <Direction direction>
void look_up(Context& context, Burst& burst) {
  if (context.conntrack.find_burst(std::span{burst.keys, burst.count}, burst.sessions) < burst.count)
    open_missed<direction>(context, burst);
  burst.keep_if([&](unsigned i) {
    if (burst.sessions[i] == nullptr) return false;  // the frame ended in open_missed
    const auto refusal = refusal_to_forward<direction>(context, burst, i);
    if (refusal) refuse(context, burst, i, *refusal);
    return !refusal;
  });
}

template void steer<Direction::Outbound>(Context&, Burst&);
template void steer<Direction::Inbound>(Context&, Burst&);
template void hand_over<Direction::Outbound>(Context&, rte_mbuf*, PortIndex, WorkerIndex);
template void hand_over<Direction::Inbound>(Context&, rte_mbuf*, PortIndex, WorkerIndex);
template void look_up<Direction::Outbound>(Context&, Burst&);
template void look_up<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
