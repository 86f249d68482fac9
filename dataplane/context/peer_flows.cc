// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/peer_flows.h"

#include "dataplane/context/flow_bucket.h"
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

std::span<PeerFlows::Flow> PeerFlows::bucket_of(const FlowKey& key, PortIndex opener) {
  const std::size_t region = std::size_t{opener % kRegions} * kBuckets;
  return {&flows_[(region + flow_bucket(key, kBuckets)) * kWays], kWays};
}

bool PeerFlows::has_ended(const Flow& flow, Time now) {
  return flow.key == FlowKey{} || now - flow.seen > time_of(flow.key.protocol());
}

PeerFlows::Flow* PeerFlows::find(const FlowKey& key, PortIndex opener, Time now) {
  Flow* const flow = find_flow(bucket_of(key, opener), key);
  return flow != nullptr && !has_ended(*flow, now) ? flow : nullptr;
}

bool PeerFlows::note(const Flow& flow, PortIndex opener) {
  return note_flow(bucket_of(flow.key, opener), flow, has_ended);
}

}  // namespace vmnat::dataplane
