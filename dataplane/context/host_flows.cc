// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/host_flows.h"

#include <bit>

#include "base/fibonacci_hash.h"
#include "dataplane/context/flow_lifetime.h"

namespace vmnat::dataplane {
namespace {

using conntrack::FlowKey;
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
