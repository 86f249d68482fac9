// SPDX-License-Identifier: Apache-2.0
// Plans for steering: how a NIC can be made to bring replies to the worker that has their session. The
// session's external port decides that, so the NIC has to choose the receive queue by the destination port
// alone. Ports go by the blocks of 64 that are assigned to workers (conntrack/external_ports.h).
//
// RSS: the Toeplitz hash of (source, destination, source port, destination port) is the XOR of the key's 32
// bits from i on, for each bit i of these 96 that is set. With bit 111 alone set in the key, the destination
// port's bits 80..95 are the only ones to see it, each at another place: bit j of the hash is the j-th
// highest of the port. A table of 128 entries is indexed by the lowest 7 bits: the highest 7 of the port, in
// reverse.
//
//   port 40000 = 1001110 001000000b -> entry 0111001b = 57, which holds all ports 39936-40447
//
// Flow rules: ports whose block has a remainder by a power of two, as value and mask, to a queue.
//
// Frames without ports (ICMP, fragments) hash to nothing and match no rule: one queue has them, or plain RSS
// spreads them, and they cross by rings. So do all frames when neither way is to be had.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "conntrack/external_ports.h"
#include "control/plan/ports.h"
#include "net/wire.h"

namespace vmnat::control {

// By port block: the receive queue that its replies come by.
using BlockQueues = std::vector<std::uint16_t>;

struct RssPlan {
  std::vector<std::uint8_t> key;
  std::vector<std::uint16_t> table;  // queue by entry (RETA)
  BlockQueues queues;
};
// Nothing when the table is no power of two of at least 2, or the key too short to hash ports (16 bytes).
std::optional<RssPlan> plan_rss(unsigned key_bytes, unsigned table_size, unsigned queue_count);

// Frames of the protocol whose destination port has `port`'s bits where `mask` is set.
struct FlowRule {
  net::Protocol protocol{};
  std::uint16_t port = 0;
  std::uint16_t mask = 0;
  std::uint16_t queue = 0;
};
struct FlowRulePlan {
  std::vector<FlowRule> rules;  // for TCP and UDP each
  BlockQueues queues;
};
FlowRulePlan plan_flow_rules(unsigned queue_count);

// Of a kernel interface's packet sockets (control/devices/packet_queue.h): block modulo the number of queues.
BlockQueues plan_fanout(unsigned queue_count);

// By port block: the worker that polls its queue; for ExternalPorts.
std::vector<WorkerIndex> plan_homes(const BlockQueues& queues, const PortPlan& uplink, unsigned worker_count);

}  // namespace vmnat::control
