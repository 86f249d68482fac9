// SPDX-License-Identifier: Apache-2.0
// HostFlows: what the host has begun with VMs, so that what a VM answers passes to it, and what it was not asked for
// does not (pipeline/host.h).
//
// A flow is noted by what the host sends, and by nothing else: a VM's frames neither make an entry nor keep one. It
// is forgotten when the host has said nothing for its protocol's time. Example, a question of the host's resolver:
//
//   10:00:00   note   192.168.122.1:40000 > 192.168.122.10:53 udp
//   10:00:01   has    the same, by the answer of .10:53                        yes
//   10:02:01   has    the same                                                 no: 120 s are over
//
// 2048 buckets of 8 entries, 384 KiB that cost memory as they are touched. A flow for which its bucket has no room
// takes the place of the one that the host has used least recently.
//
// Owned by one worker: all frames from and to one port of the host cross its owner.
#pragma once

#include <cstdint>

#include "base/time.h"
#include "conntrack/flow_key.h"
#include "conntrack/reserved_array.h"

namespace vmnat::dataplane {

class HostFlows {
 public:
  HostFlows();  // in worker_setup.cc
  [[nodiscard]] bool has_memory() const { return entries_.reserved(); }

  // The host has sent a frame of this flow, whose local endpoint is the host's. False: it took the place of a flow
  // that had not ended.
  bool note(const conntrack::FlowKey& flow, Time now);
  [[nodiscard]] bool has(const conntrack::FlowKey& flow, Time now) const;

 private:
  static constexpr std::uint32_t kBuckets = 2048, kWays = 8;
  struct Entry {
    conntrack::FlowKey key;  // zero: free
    Time seen;
  };
  static_assert(sizeof(Entry) == 24);

  static bool has_ended(const Entry& entry, Time now);

  conntrack::ReservedArray<Entry> entries_;
};

}  // namespace vmnat::dataplane
