// SPDX-License-Identifier: Apache-2.0
// Context: what the steps of one worker work with. Owned and used by that worker alone.
#pragma once

#include <span>

#include "base/ids.h"
#include "base/time.h"
#include "base/token_bucket.h"
#include "conntrack/conntrack.h"
#include "dataplane/context/counters.h"
#include "dataplane/context/datagram_numbers.h"
#include "dataplane/context/errand_queue.h"
#include "dataplane/context/forwarding_state.h"
#include "dataplane/context/fragment_table.h"
#include "dataplane/context/host_flows.h"
#include "dataplane/context/peer_flows.h"
#include "dataplane/context/punt.h"
#include "dataplane/context/refused_remotes.h"
#include "dataplane/context/rings.h"
#include "dataplane/context/transmit.h"
#include "dataplane/frame/packet.h"

namespace vmnat::dataplane {

// RFC 1812 4.3.2.8: the rate of ICMP errors, and of TCP resets with them, is bounded, for what came from one
// port and for a worker's all. A port has 80 a second (5 at once) of its own, which no flood by other ports
// takes from it, and up to 120 (15) of 1000 (63) that all ports share.
inline constexpr std::uint32_t kIcmpErrorsPerSecond = 1000;
inline constexpr std::uint32_t kIcmpErrorsAtOnce = 63;
struct PortIcmpErrors {
  TokenBucket own{80, 5};
  TokenBucket shared{120, 15};
};

// A flood reaches every VM of a network, which did not ask for it. One port may flood so much a second.
inline constexpr std::uint32_t kPortFloodsPerSecond = 10'000;  // frames
inline constexpr std::uint32_t kPortFloodsAtOnce = 2'000;
inline constexpr std::uint32_t kPortFloodBytesPerSecond = 25'000'000;
inline constexpr std::uint32_t kPortFloodBytesAtOnce = 5'000'000;

struct FloodBudget {
  TokenBucket frames{kPortFloodsPerSecond, kPortFloodsAtOnce};
  TokenBucket bytes{kPortFloodBytesPerSecond, kPortFloodBytesAtOnce};
};

struct Context {
  const ForwardingState* state = nullptr;  // valid until the end of the poll
  Time now{};                              // read once a poll
  WorkerIndex worker = 0;
  unsigned worker_count = 1;
  conntrack::Conntrack& conntrack;
  const conntrack::ExternalPorts& external_ports;
  WorkerCounters& counters;
  Rings& rings;
  Transmitter& transmitter;
  FragmentTable& fragments;
  DatagramNumbers& datagram_numbers;
  RefusedRemotes& refused_remotes;
  HostFlows& host_flows;    // that the host has begun
  HostFlows& served_flows;  // TCP's that VMs have begun with its services
  PeerFlows& peer_flows;    // between VMs, where there are rules
  PuntBudgets& punt_budgets;
  std::span<PortIcmpErrors> port_icmp_error_budgets;  // by PortIndex
  std::span<FloodBudget> port_flood_budgets;          // the same
  TokenBucket icmp_error_budget{kIcmpErrorsPerSecond, kIcmpErrorsAtOnce};
  ErrandQueue errands;

  // True for an address that a frame from an uplink may come from: of one host, neither inside nor ours.
  [[nodiscard]] bool is_credible_remote(net::Ipv4Addr remote) const {
    return remote.is_forwarded() && !state->is_edge_of_uplink(remote) &&
           state->network_of(remote) == kNoNetwork && !state->is_external(remote);
  }

  // True when one more error may be sent about a frame from this port.
  bool take_icmp_error(PortIndex port) {
    PortIcmpErrors& budget = port_icmp_error_budgets[port];
    return budget.own.take(now) || (budget.shared.take(now) && icmp_error_budget.take(now));
  }

  // True when one more frame from this port may be flooded.
  bool take_flood(PortIndex port, std::uint32_t bytes) {
    FloodBudget& budget = port_flood_budgets[port];
    return budget.frames.take(now) && budget.bytes.take(now, bytes);
  }

  // The frame's end: freed, and counted against the port it came from.
  void drop(rte_mbuf* frame, PortIndex port, DropReason reason) { counters.drop(frame, port, reason); }

  // The frame goes on by this errand, at this worker, once the burst in work is used up.
  [[gnu::cold]] void queue_errand(rte_mbuf* frame, const FrameNote& note) {
    note_of(frame) = note;
    if (!errands.push(frame)) drop(frame, note.port, DropReason::HandoffFull);
  }

  // The frame waits with control until `host`, an inside address, is in the forwarding state. Then control
  // gives it back, to be looked up again.
  void punt_for_host(rte_mbuf* frame, PortIndex port, net::Ipv4Addr host) {
    note_of(frame).host = host;
    punt(frame, port, PuntReason::HostUnresolved);
  }

  // The frame goes to the control thread, which answers it or re-injects it; punt.h.
  [[gnu::cold]] void punt(rte_mbuf* frame, PortIndex port, PuntReason reason);
};

}  // namespace vmnat::dataplane
