// SPDX-License-Identifier: Apache-2.0
#include "control/plan/steering_plan.h"

#include <algorithm>
#include <bit>

namespace vmnat::control {
namespace {

constexpr unsigned kBlocks = conntrack::kPortBlocks;
constexpr unsigned kBlockPorts = conntrack::kBlockPorts;
constexpr unsigned kBlockBits = std::countr_zero(kBlocks);  // that say a port's block
constexpr unsigned kSeenByPortOnly = 111;  // a bit of the key, from the first byte's highest on
constexpr unsigned kLeastKeyBytes = 16;    // 96 bits of input and a window of 32
constexpr unsigned kClassesPerQueue = 4;   // where queues are no power of two

unsigned reversed16(unsigned bits) {
  unsigned reversed = 0;
  for (unsigned i = 0; i < 16; ++i) reversed |= (bits >> i & 1) << (15 - i);
  return reversed;
}

// Consecutive chunks of ports go to one queue after the other, so that a narrow range of ports, such as the
// ephemeral ones of guests, is spread, too.
BlockQueues in_turn(unsigned chunk_bits, unsigned queue_count) {
  BlockQueues queues;
  for (unsigned block = 0; block < kBlocks; ++block)
    queues.push_back(static_cast<std::uint16_t>((block >> (kBlockBits - chunk_bits)) % queue_count));
  return queues;
}

}  // namespace

std::optional<RssPlan> plan_rss(unsigned key_bytes, unsigned table_size, unsigned queue_count) {
  if (key_bytes < kLeastKeyBytes || table_size < 2 || !std::has_single_bit(table_size)) return std::nullopt;
  const auto index_bits = static_cast<unsigned>(std::countr_zero(table_size));
  RssPlan plan{.key = std::vector<std::uint8_t>(key_bytes),
               .queues = in_turn(std::min(index_bits, kBlockBits), queue_count)};
  plan.key[kSeenByPortOnly / 8] = 0x80 >> kSeenByPortOnly % 8;
  for (unsigned entry = 0; entry < table_size; ++entry)
    plan.table.push_back(plan.queues[reversed16(entry) / kBlockPorts]);
  return plan;
}

FlowRulePlan plan_flow_rules(unsigned queue_count) {
  const unsigned wanted =
      std::has_single_bit(queue_count) ? queue_count : std::bit_ceil(queue_count * kClassesPerQueue);
  const unsigned classes = std::min(wanted, kBlocks);
  FlowRulePlan plan;
  for (unsigned block = 0; block < kBlocks; ++block)
    plan.queues.push_back(static_cast<std::uint16_t>(block % classes % queue_count));
  for (const net::Protocol protocol : {net::Protocol::Tcp, net::Protocol::Udp})
    for (unsigned i = 0; i < classes; ++i)
      plan.rules.push_back({.protocol = protocol,
                            .port = static_cast<std::uint16_t>(i * kBlockPorts),
                            .mask = static_cast<std::uint16_t>((classes - 1) * kBlockPorts),
                            .queue = plan.queues[i]});
  return plan;
}

BlockQueues plan_fanout(unsigned queue_count) {
  return in_turn(kBlockBits, queue_count);
}

std::vector<WorkerIndex> plan_homes(const BlockQueues& queues, const PortPlan& uplink,
                                    unsigned worker_count) {
  std::vector<WorkerIndex> homes;
  for (const std::uint16_t queue : queues) homes.push_back(polling_worker(uplink, queue, worker_count));
  return homes;
}

}  // namespace vmnat::control
