// SPDX-License-Identifier: Apache-2.0
// PeerFlows: what VMs of one network have begun with each other where rules decide about it, so that what is answered
// passes, and what was not asked for does not (pipeline/peers.h). Nothing of it is translated.
//
// A flow is noted when the rules of both VMs have accepted it, under its opener, and kept by the frames of both sides.
// It is forgotten when neither has said anything for its protocol's time (flow_lifetime.h). When the rules have
// changed since, it is judged again by its next frame, by what stands here. Example:
//
//   vm1 > vm2:80  SYN    accepted, noted under vm1
//   vm2:80 > vm1  SYN ACK   found under vm1: passes, whatever vm1's rules say of what comes in
//
// A VM has a region of the table, 512 buckets of 8 entries, which it shares with those whose numbers are the same
// modulo 64: whatever it opens, it displaces flows of others no more than that. A flow for which its bucket has no room
// takes the place of the one that was used least recently.
//
// Later fragments have no ports: a datagram is noted by its identification, under who has sent it, as long as a
// receiver may wait for its rest.
//
// Owned by one worker: all frames between two ports cross the owner of the one with the lower number.
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"
#include "base/time.h"
#include "conntrack/flow_key.h"
#include "conntrack/reserved_array.h"
#include "net/wire.h"

namespace vmnat::dataplane {

class PeerFlows {
 public:
  struct Flow {
    conntrack::FlowKey key;  // of the opener's frames; zero: free
    Time seen;
    std::uint16_t epoch = 0;  // of the rules that have accepted it
    std::uint8_t icmp_type = 0;
  };
  static_assert(sizeof(Flow) == 24);

  PeerFlows();  // in worker_setup.cc
  [[nodiscard]] bool has_memory() const { return flows_.reserved(); }

  // nullptr: it is not known, or has ended. Good until the next note().
  [[nodiscard]] Flow* find(const conntrack::FlowKey& key, PortIndex opener, Time now);
  // False: it took the place of a flow that had not ended.
  bool note(const Flow& flow, PortIndex opener);

  // The key of a datagram of which fragments follow.
  static conntrack::FlowKey datagram_key(const net::Ipv4Header& ip);

 private:
  static constexpr std::uint32_t kRegions = 64, kBuckets = 512, kWays = 8;
  static bool has_ended(const Flow& flow, Time now);
  std::span<Flow> bucket_of(const conntrack::FlowKey& key, PortIndex opener);

  conntrack::ReservedArray<Flow> flows_;  // 6 MiB, which cost memory as they are touched
};

}  // namespace vmnat::dataplane
