// SPDX-License-Identifier: Apache-2.0
// NatPolicy: how one network's flows are translated; and Verdict: what became of a new flow.
//
// Control builds policies from the configuration; they are immutable afterwards. A reload publishes new ones,
// and sessions that exist keep their endpoints. A policy's id is its index in the list.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "base/time.h"
#include "conntrack/flow_key.h"

namespace vmnat::conntrack {

using ExternalIndex = std::uint16_t;  // of an external address, as long as there is the address
inline constexpr unsigned kMaxPolicies = 4096;
inline constexpr unsigned kMaxExternalAddresses = 4096;

// RFC 4787 section 4.1: whether the external endpoint is the same for all remotes.
enum class Mapping : std::uint8_t { EndpointIndependent, EndpointDependent };
// RFC 4787 section 5: who may send to a mapping.
enum class Filtering : std::uint8_t { AddressAndPortDependent, AddressDependent, EndpointIndependent };

// A TCP segment in mid-stream without a session is refused, or taken for one of a connection that goes on.
enum class MidStream : std::uint8_t { Refuse, PickUp };

struct Timeouts {
  Ticks tcp_established = std::chrono::hours(2) + std::chrono::minutes(4);  // RFC 5382 REQ-5
  Ticks tcp_transitory = std::chrono::minutes(4);                           // RFC 5382 REQ-5
  Ticks udp = std::chrono::minutes(5);                                      // RFC 4787 REQ-5
  Ticks udp_answered = std::chrono::seconds(30);                            // RFC 4787 REQ-5a; `udp` at most
  Ticks icmp = std::chrono::seconds(60);                                    // RFC 5508 REQ-2
  Ticks other = std::chrono::minutes(10);
};

using PoolIndex = std::uint8_t;  // of a policy's pools
inline constexpr PoolIndex kNoPool = 0xff;

struct NatPolicy {
  std::vector<ExternalIndex> addresses;  // pool 0
  // Pools 1 and up, for flows that are said to have theirs by them. No address is in two pools.
  std::vector<std::vector<ExternalIndex>> more_pools{};
  std::vector<PoolIndex> pools_by_address{};  // by ExternalIndex; empty: pool 0 is the only one
  // Addresses that the network had, whose sessions are about to end: none opens by them any more, whatever is
  // mapped there.
  std::vector<ExternalIndex> leaving{};
  Mapping mapping = Mapping::EndpointIndependent;
  Filtering filtering = Filtering::AddressAndPortDependent;
  bool overload = true;  // when no address has a free port, give one again towards another remote
  MidStream mid_stream = MidStream::Refuse;
  Timeouts timeouts{};
  std::uint32_t sessions_per_port = 0;        // 0: no limit
  std::uint32_t new_sessions_per_second = 0;  // 0: no limit; a second's worth may come at once
  // Ports that an internal address gets at a time (vm_blocks.h): a power of two from 64 to 4096; 0: ports singly. Then no
  // port is given again towards another remote.
  std::uint16_t block_ports = 0;

  [[nodiscard]] std::span<const ExternalIndex> pool(PoolIndex number) const {
    return number == 0 ? addresses : more_pools[number - 1u];
  }
  // Whether an address that some pool has is in this one; not for addresses of other policies.
  [[nodiscard]] bool is_in_pool(ExternalIndex external, PoolIndex number) const {
    if (pools_by_address.empty()) return true;
    return external < pools_by_address.size() && pools_by_address[external] == number;
  }
  [[nodiscard]] bool has(ExternalIndex external) const {
    if (pools_by_address.empty())
      return std::find(addresses.begin(), addresses.end(), external) != addresses.end();
    return external < pools_by_address.size() && pools_by_address[external] != kNoPool;
  }
  [[nodiscard]] bool leaves(ExternalIndex external) const {
    return std::find(leaving.begin(), leaving.end(), external) != leaving.end();
  }
};

using NatPolicies = std::vector<NatPolicy>;

// Everything but Opened refuses the flow; each is a drop reason.
enum class Verdict : std::uint8_t {
  Opened,
  TableFull,     // every session record of this worker is in use
  NoFreePort,    // no legal (external, remote, protocol) tuple is left for this flow
  SessionLimit,  // the VM's port has sessions_per_port sessions
  SessionRate,   // the VM's port opens sessions faster than new_sessions_per_second
  TcpNotSyn,     // a TCP segment of no known connection that may open none (RFC 5382 REQ-2: by SYN)
  Filtered,      // inbound: nothing is mapped there, or the mapping's filter does not let this remote in
  OtherWorker,   // protocols without ports: another worker has the sessions with this remote
};

// TCP and UDP ports and ICMP identifiers are numbered apart (RFC 4787 REQ-1 holds per protocol).
enum class PortSpace : std::uint8_t { Tcp, Udp, Icmp, None };
inline constexpr auto kPortSpaces = static_cast<unsigned>(PortSpace::None);

constexpr PortSpace port_space(net::Protocol protocol) {
  switch (protocol) {
    case net::Protocol::Tcp:
      return PortSpace::Tcp;
    case net::Protocol::Udp:
      return PortSpace::Udp;
    case net::Protocol::Icmp:
      return PortSpace::Icmp;
  }
  return PortSpace::None;
}

}  // namespace vmnat::conntrack
