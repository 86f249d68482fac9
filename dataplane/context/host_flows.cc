// SPDX-License-Identifier: Apache-2.0
#include "dataplane/context/host_flows.h"

#include "dataplane/context/flow_bucket.h"
#include "dataplane/context/flow_lifetime.h"

namespace vmnat::dataplane {

using conntrack::FlowKey;

bool HostFlows::has_ended(const Entry& entry, Time now) {
  return entry.key == FlowKey{} || now - entry.seen > lifetime_of(entry.key.protocol());
}

bool HostFlows::note(const FlowKey& flow, Time now) {
  return note_flow(std::span{&entries_[flow_bucket(flow, kBuckets) * kWays], kWays}, Entry{flow, now},
                   has_ended);
}

bool HostFlows::has(const FlowKey& flow, Time now) const {
  const Entry* entry = find_flow(std::span{&entries_[flow_bucket(flow, kBuckets) * kWays], kWays}, flow);
  return entry != nullptr && !has_ended(*entry, now);
}

}  // namespace vmnat::dataplane
