// SPDX-License-Identifier: Apache-2.0
// Session: one conntrack record for both directions, in one cache line.
//
// It holds the three endpoints, the rewrite of either direction (decided once, when the session opens),
// where inbound frames go, the TCP state, and what is counted. Written by the owning worker only; control
// reads whole records through SessionTable's snapshot.
#pragma once

#include <cstdint>

#include "conntrack/flow_key.h"
#include "dataplane/net/checksum.h"

namespace vmnat::conntrack {

inline constexpr std::size_t kCacheLineSize = 64;

// Index of a port in the configuration's order; the dataplane gives it its meaning.
using PortIndex = std::uint16_t;

// What a frame needs to be translated one way. Addresses and ports replace the local endpoint's: the
// source of outbound frames, the destination of inbound ones.
struct Rewrite {
  net::Endpoint endpoint;
  net::ChecksumDelta address_delta;  // IPv4 header; L4 checksums kept partial by the sender
  net::ChecksumDelta l4_delta;       // address and port: finished TCP/UDP checksums. ICMP: the identifier alone
};

enum class SessionState : std::uint8_t;  // conntrack/tcp_state.h

}  // namespace vmnat::conntrack
