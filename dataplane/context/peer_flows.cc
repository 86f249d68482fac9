// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/peer_flows.h"

#include <bit>

#include "base/fibonacci_hash.h"
#include "dataplane/context/flow_lifetime.h"

namespace vmnat::dataplane {
namespace {

using conntrack::FlowKey;

// No flow's: IANA has reserved the number.
constexpr auto kDatagram = static_cast<net::Protocol>(255);
constexpr Ticks kDatagramLifetime =
    std::chrono::seconds(30);  // as Linux waits; RFC 1122 3.3.2 allows for more

constexpr Ticks time_of(net::Protocol protocol) {
  return protocol == kDatagram ? kDatagramLifetime : lifetime_of(protocol);
}

}  // namespace

FlowKey PeerFlows::datagram_key(const net::Ipv4Header& ip) {
  return FlowKey::of({ip.source, net::L4Port::from_raw(ip.identification.raw())},
                     {ip.destination, net::L4Port::from_host(ip.protocol_number)}, kDatagram);
}

PeerFlows::Flow* PeerFlows::bucket_of(const FlowKey& key, PortIndex opener) {
  const std::uint32_t bucket = scaled_below(kBuckets, fibonacci_hash(key.remote ^ std::rotl(key.local, 32)));
  return &flows_[(std::size_t{opener % kRegions} * kBuckets + bucket) * kWays];
}

bool PeerFlows::has_ended(const Flow& flow, Time now) {
  return flow.key == FlowKey{} || now - flow.seen > time_of(flow.key.protocol());
}

PeerFlows::Flow* PeerFlows::find(const FlowKey& key, PortIndex opener, Time now) {
  Flow* const bucket = bucket_of(key, opener);
  for (Flow* flow = bucket; flow != bucket + kWays; ++flow)
    if (flow->key == key) return has_ended(*flow, now) ? nullptr : flow;
  return nullptr;
}

// Its own place, or one whose flow has ended, or the one that was used least recently.
bool PeerFlows::note(const Flow& flow, PortIndex opener) {
  Flow* const bucket = bucket_of(flow.key, opener);
  Flow* place = bucket;
  for (Flow* other = bucket; other != bucket + kWays; ++other) {
    if (other->key == flow.key) {
      place = other;
      break;
    }
    if (has_ended(*place, flow.seen)) continue;
    if (has_ended(*other, flow.seen) || flow.seen - other->seen > flow.seen - place->seen) place = other;
  }
  const bool had_room = place->key == flow.key || has_ended(*place, flow.seen);
  *place = flow;
  return had_room;
}

}  // namespace vmnat::dataplane
