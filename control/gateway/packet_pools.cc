// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/packet_pools.h"

#include <algorithm>
#include <fmt/format.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <spdlog/spdlog.h>

#include "control/devices/device.h"
#include "dataplane/frame/packet.h"

namespace vmnat::control {
namespace {

constexpr unsigned kPoolCache = 256;
constexpr unsigned kMaxPackets = 65536;  // more than all queues and rings of an ordinary set-up hold

unsigned buffers_in(std::uint64_t bytes, std::uint16_t room) {
  constexpr std::uint64_t kOverhead = 128;  // of the pool, for each
  const std::uint64_t buffer = room + sizeof(rte_mbuf) + dataplane::kPrivateSize + kOverhead;
  return static_cast<unsigned>(std::min<std::uint64_t>(kMaxPackets, bytes / buffer));
}

}  // namespace

void PacketPools::Free::operator()(rte_mempool* pool) const {
  rte_mempool_free(pool);
}

Result<PacketPools> PacketPools::create(const config::Config& config, std::uint16_t longest_packet,
                                        const EalPlan& eal) {
  const auto room = static_cast<std::uint16_t>(buffer_bytes(longest_packet) + RTE_PKTMBUF_HEADROOM);
  PacketPools pools;
  pools.plan_ =
      plan_pools(eal.worker_nodes, eal.control_node, buffers_in(config.dataplane.memory.bytes / 2, room),
                 eal.uses_hugepages ? Placeable::Yes : Placeable::No);
  for (const PoolPlan& plan : pools.plan_.pools) {
    Pool pool = make(static_cast<unsigned>(pools.pools_.size()), plan, room);
    if (pool == nullptr)
      return tl::unexpected(
          Error{"dataplane.memory",
                fmt::format("no room for {} packet buffers{}: {}", plan.buffers,
                            eal.uses_hugepages ? " in hugepages" : "", rte_strerror(rte_errno))});
    pools.pools_.push_back(std::move(pool));
  }
  return pools;
}

std::vector<PacketPools::Use> PacketPools::use() const {
  std::vector<Use> uses;
  for (const Pool& pool : pools_)
    uses.push_back(
        {.pool = pool->name, .buffers = pool->size, .in_use = rte_mempool_in_use_count(pool.get())});
  return uses;
}

// On the node that is planned, if it has the room.
PacketPools::Pool PacketPools::make(unsigned number, const PoolPlan& plan, std::uint16_t room) {
  const std::string name = fmt::format("packets{}", number);
  const auto make_on = [&](int node) {
    return Pool(rte_pktmbuf_pool_create(name.c_str(), plan.buffers - 1, kPoolCache, dataplane::kPrivateSize,
                                        room, node));
  };
  Pool pool = make_on(plan.node == kNoNode ? SOCKET_ID_ANY : plan.node);
  if (pool != nullptr || plan.node == kNoNode) return pool;
  spdlog::warn("NUMA node {} has no hugepages for {} packet buffers: they come from another node", plan.node,
               plan.buffers);
  return make_on(SOCKET_ID_ANY);
}

}  // namespace vmnat::control
