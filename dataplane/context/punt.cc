// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/punt.h"

#include "base/fibonacci_hash.h"
#include "dataplane/context/context.h"
#include "dataplane/observe/watch.h"

namespace vmnat::dataplane {

bool TargetBudgets::take(net::Ipv4Addr target, PortIndex port, Time now) {
  Slot& slot = slots_[fibonacci_hash(std::uint64_t{target.raw()} << 16 | port) % kSlots];
  if (slot.target != target || slot.port != port || slot.tick != now) slot = {target, port, 0, now};
  if (slot.count == kPuntsPerTarget) return false;
  ++slot.count;
  return true;
}

void PuntBudgets::share_among(std::size_t ports, std::size_t uplinks) {
  const PuntShares shares = PuntShares::among(ports);
  for (OfPort& port : ports_) {
    port.dhcp.resize_to(tick_budget(shares.dhcp));
    port.segment_dhcp.resize_to(tick_budget(shares.segment_dhcp));
    port.arp.resize_to(tick_budget(shares.arp));
    port.unresolved.resize_to(tick_budget(shares.unresolved));
  }
  for (OfPort& uplink : std::span{ports_}.first(uplinks)) {
    uplink.dhcp.resize_to(tick_budget(kUplinkDhcpPunts));
    uplink.arp.resize_to(tick_budget(kAskedArpPunts));
  }
}

bool PuntBudgets::take(const ForwardingState& state, rte_mbuf* frame, PortIndex port, PuntReason reason,
                       Time now) {
  OfPort& of_port = ports_[port];
  switch (reason) {
    case PuntReason::Dhcp:
      return (state.ports[port].is_segment ? of_port.segment_dhcp : of_port.dhcp).take(now);
    case PuntReason::UplinkDhcp:
      return of_port.dhcp.take(now);
    case PuntReason::ArpReply:
      return state.is_uplink(port) ? take_arp(state.uplinks[port], frame, port, now) : of_port.arp.take(now);
    case PuntReason::ProbeReply:
      return probe_.take(now);
    case PuntReason::NeighborUnresolved:
      return targets_.take(state.uplink_of(state.ports[port].network).next_hop(ipv4_of(frame).destination),
                           port, now) &&
             of_port.unresolved.take(now);
    case PuntReason::HostUnresolved:
      return targets_.take(note_of(frame).host, port, now) && of_port.unresolved.take(now);
    case PuntReason::kCount:
      break;
  }
  return false;
}

// Whoever confirms what is known of the router does no harm by it; whoever says something else of it, or of a
// neighbour, is one of many.
bool PuntBudgets::take_arp(const Uplink& uplink, rte_mbuf* frame, PortIndex port, Time now) {
  const auto& arp = *rte_pktmbuf_mtod_offset(frame, const net::ArpPacket*, sizeof(net::EthernetHeader));
  const net::MacAddr* known = uplink.asked_mac(arp.sender_address);
  if (arp.sender_address == uplink.gateway && known != nullptr && *known == arp.sender_mac)
    return router_arp_.take(now);
  if (!targets_.take(arp.sender_address, port, now)) return false;
  return known != nullptr ? ports_[port].arp.take(now) : other_arp_.take(now);
}

void Context::punt(rte_mbuf* frame, PortIndex port, PuntReason reason) {
  if (frame->nb_segs != 1 || is_super_frame(frame)) return drop(frame, port, DropReason::PuntSize);
  if (!punt_budgets.take(*state, frame, port, reason, now)) return drop(frame, port, DropReason::PuntBudget);
  if (is_unfinished(frame)) finish_checksum(frame);
  note_of(frame).port = port;
  note_of(frame).punt = reason;
  const bool is_the_uplinks = reason == PuntReason::UplinkDhcp || reason == PuntReason::ProbeReply ||
                              (reason == PuntReason::ArpReply && state->is_uplink(port));
  FrameRing& ring = is_the_uplinks ? rings.uplink_punt : rings.punt;
  if (counters.watch != nullptr && counters.watch->traces()) counters.watch->see_punted(frame, port, reason);
  if (!ring.push(frame)) return drop(frame, port, DropReason::PuntFull);
  rings.wake_control();
  counters.punts[index_of(reason)].add(1);
}

}  // namespace vmnat::dataplane
