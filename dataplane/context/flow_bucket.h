// SPDX-License-Identifier: Apache-2.0
// Buckets of the tables of flows that are not translated (host_flows.h, peer_flows.h): a flow lies in any entry of its
// bucket, and one for which there is no room takes the place of the one that was used least recently.
//
// An entry has a `key`, zero where it is free, and the time when it was `seen`. `has_ended(entry, now)`: it is free, or
// over.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "base/fibonacci_hash.h"
#include "base/time.h"
#include "conntrack/flow_key.h"

namespace vmnat::dataplane {

// Both ends' addresses lie in the same bits of their words, and so do the ports.
inline std::uint32_t flow_bucket(const conntrack::FlowKey& key, std::uint32_t buckets) {
  return scaled_below(buckets, fibonacci_hash(key.remote ^ std::rotl(key.local, 32)));
}

// nullptr: it is not there.
template <typename Flow>
Flow* find_flow(std::span<Flow> bucket, const conntrack::FlowKey& key) {
  for (Flow& flow : bucket)
    if (flow.key == key) return &flow;
  return nullptr;
}

// Its own entry, or one that has ended, or the one that was used least recently.
template <typename Flow, typename HasEnded>
Flow& place_for(std::span<Flow> bucket, const conntrack::FlowKey& key, Time now, HasEnded has_ended) {
  Flow* place = bucket.data();
  for (Flow& flow : bucket) {
    if (flow.key == key) return flow;
    if (has_ended(*place, now)) continue;
    if (has_ended(flow, now) || now - flow.seen > now - place->seen) place = &flow;
  }
  return *place;
}

// `flow` as it was seen now. False: it took the place of one that had not ended.
template <typename Flow, typename HasEnded>
bool note_flow(std::span<Flow> bucket, const Flow& flow, HasEnded has_ended) {
  Flow& place = place_for(bucket, flow.key, flow.seen, has_ended);
  const bool had_room = place.key == flow.key || has_ended(place, flow.seen);
  place = flow;
  return had_room;
}

}  // namespace vmnat::dataplane
