// SPDX-License-Identifier: Apache-2.0
#include "dataplane/worker/limit_gate.h"

#include <algorithm>

#include "dataplane/frame/packet.h"
#include "net/wire.h"

namespace vmnat::dataplane {
namespace {

using Sharing = FairTurns::Sharing;

unsigned frames_in(std::int64_t bytes, unsigned most) {
  return bytes <= 0 ? 0 : static_cast<unsigned>(std::min<std::int64_t>(most, bytes / kFullFrame + 1));
}

// What the gateway is given and does not plainly keep: before a frame is parsed, and whatever tags it bears, nothing else
// can leave by the uplink. Some of it will be dropped there, and counts all the same.
bool is_for_uplink(const Network& network, const rte_mbuf* frame) {
  constexpr std::size_t kHeaders = sizeof(net::EthernetHeader) + sizeof(net::Ipv4Header);
  if (frame->data_len < kHeaders) return false;
  const auto& ethernet = *rte_pktmbuf_mtod(frame, const net::EthernetHeader*);
  if (ethernet.destination != network.mac) return false;
  const auto& ip = *rte_pktmbuf_mtod_offset(frame, const net::Ipv4Header*, sizeof(net::EthernetHeader));
  return ethernet.ether_type() != net::EtherType::Ipv4 || !network.gateway.contains(ip.destination);
}

}  // namespace

unsigned LimitGate::room_of(const Limit& limit, std::uint64_t tsc, unsigned most) {
  const Limit::Left left = limit.left(tsc);
  if (!left.is_any()) return 0;
  return std::min(frames_in(left.bytes, most),
                  static_cast<unsigned>(std::min<std::int64_t>(left.frames, most)));
}

unsigned LimitGate::room(const PortLimits& limits, PortIndex port, std::uint64_t tsc, unsigned most) {
  if (limits.out.own != nullptr) most = room_of(*limits.out.own, tsc, most);
  if (most != 0 && limits.out.network != nullptr)
    most = shared_room(limits, port, Sharing::Network, tsc, most);
  if (most != 0 && limits.out.uplink != nullptr) most = shared_room(limits, port, Sharing::Uplink, tsc, most);
  has_held_ |= most == 0;
  return most;
}

unsigned LimitGate::shared_room(const PortLimits& limits, PortIndex port, Sharing sharing, std::uint64_t tsc,
                                unsigned most) {
  const Limit& limit = sharing == Sharing::Network ? *limits.out.network : *limits.out.uplink;
  const unsigned room = room_of(limit, tsc, most);
  if (room == 0) turns_.note_used_up(limits, sharing);
  const std::int64_t share = turns_.share_left(limits, port, sharing, limit);
  if (share <= 0) return 0;
  if (room != 0) return std::min(room, frames_in(share, most));
  // Who has sent nothing by the uplink in this round may have everything for its neighbours.
  return sharing == Sharing::Uplink && share == limit.turn() ? frames_in(share, most) : 0;
}

void LimitGate::take_turn(const PortLimits& limits, const Arrival& arrival, Sharing sharing,
                          std::uint64_t bytes) {
  turns_.take(arrival.port, sharing, bytes);
  if (arrival.has_more) turns_.note_more(limits, arrival.port, sharing);
}

void LimitGate::charge(const ForwardingState& state, const PortLimits& limits, const Arrival& arrival,
                       std::uint64_t tsc) {
  const Network& network = state.network_at(arrival.port);
  WireSize all, for_uplink;
  for (const rte_mbuf* const frame : arrival.frames) {
    const WireSize size = wire_size(frame);
    all += size;
    if (limits.out.uplink != nullptr && is_for_uplink(network, frame)) for_uplink += size;
  }
  if (limits.out.own != nullptr) limits.out.own->charge(tsc, all);
  if (limits.out.network != nullptr) {
    limits.out.network->charge(tsc, all);
    take_turn(limits, arrival, Sharing::Network, all.bytes);
  }
  if (for_uplink.frames != 0) {
    limits.out.uplink->charge(tsc, for_uplink);
    take_turn(limits, arrival, Sharing::Uplink, for_uplink.bytes);
  }
}

}  // namespace vmnat::dataplane
