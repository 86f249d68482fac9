// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/host_flows.h"

#include <bit>

#include "base/fibonacci_hash.h"

namespace vmnat::dataplane {
namespace {

using conntrack::FlowKey;

// As long as the NAT keeps a session by default: RFC 5382 REQ-5, RFC 5508 REQ-1. Of UDP no longer than has to be
// (RFC 4787 REQ-5), because a datagram opens what a segment does not.
constexpr Ticks lifetime_of(net::Protocol protocol) {
  switch (protocol) {
    case net::Protocol::Tcp:
      return std::chrono::minutes(124);
    case net::Protocol::Udp:
      return std::chrono::minutes(2);
    case net::Protocol::Icmp:
      return std::chrono::minutes(1);
  }
  return std::chrono::minutes(10);
}

}  // namespace

// Both ends' addresses lie in the same bits of their words, and so do the ports.
std::uint32_t HostFlows::bucket_of(const FlowKey& flow) {
  return scaled_below(kBuckets, fibonacci_hash(flow.remote ^ std::rotl(flow.local, 32)));
}

bool HostFlows::has_ended(const Entry& entry, Time now) {
  return entry.flow == FlowKey{} || now - entry.seen > lifetime_of(entry.flow.protocol());
}

// Its own, or one that has ended, or the one that was used least recently.
HostFlows::Entry& HostFlows::place_for(Entry* bucket, const FlowKey& flow, Time now) {
  Entry* place = bucket;
  for (Entry* entry = bucket; entry != bucket + kWays; ++entry) {
    if (entry->flow == flow) return *entry;
    if (has_ended(*place, now)) continue;
    if (has_ended(*entry, now) || now - entry->seen > now - place->seen) place = entry;
  }
  return *place;
}

bool HostFlows::note(const FlowKey& flow, Time now) {
  Entry& place = place_for(&entries_[bucket_of(flow) * kWays], flow, now);
  const bool had_room = place.flow == flow || has_ended(place, now);
  place = {flow, now};
  return had_room;
}

bool HostFlows::has(const FlowKey& flow, Time now) const {
  const Entry* const bucket = &entries_[bucket_of(flow) * kWays];
  for (const Entry* entry = bucket; entry != bucket + kWays; ++entry)
    if (entry->flow == flow) return !has_ended(*entry, now);
  return false;
}

}  // namespace vmnat::dataplane
