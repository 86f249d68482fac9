// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/packet_pools.h"

#include <algorithm>
#include <fmt/format.h>
#include <pthread.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
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

Error no_room(unsigned buffers, bool in_hugepages, int error) {
  return {"dataplane.memory", fmt::format("no room for {} packet buffers{}: {}", buffers,
                                          in_hugepages ? " in hugepages" : "", rte_strerror(error))};
}

std::string name_of(unsigned pool) {
  return fmt::format("packets{}", pool);
}

void run_on(const std::vector<unsigned>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const unsigned cpu : cpus) CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // refused: it takes longer
}

}  // namespace

void PacketPools::Free::operator()(rte_mempool* pool) const {
  rte_mempool_free(pool);
}

Result<PacketPools> PacketPools::create(const config::Config& config, std::uint16_t longest_packet,
                                        const EalPlan& eal) {
  const auto room = static_cast<std::uint16_t>(buffer_bytes(longest_packet) + RTE_PKTMBUF_HEADROOM);
  PacketPools pools;
  const auto make_one = eal.uses_hugepages ? &PacketPools::make : &PacketPools::make_empty;
  pools.plan_ =
      plan_pools(eal.worker_nodes, eal.control_node, buffers_in(config.dataplane.memory.bytes / 2, room),
                 eal.uses_hugepages ? Placeable::Yes : Placeable::No);
  for (const PoolPlan& plan : pools.plan_.pools) {
    Pool pool = make_one(static_cast<unsigned>(pools.pools_.size()), plan, room);
    if (pool == nullptr) return tl::unexpected(no_room(plan.buffers, eal.uses_hugepages, rte_errno));
    pools.pools_.push_back(std::move(pool));
  }
  if (!eal.uses_hugepages) pools.begin_to_fill(eal.worker_cpus);
  return pools;
}

// On the workers' CPUs, which have nothing to do before the workers start.
void PacketPools::begin_to_fill(const std::vector<unsigned>& cpus) {
  std::vector<rte_mempool*> pools;
  for (const Pool& pool : pools_) pools.push_back(pool.get());
  filling_ = std::async(std::launch::async, [pools, cpus] {
    run_on(cpus);
    for (rte_mempool* pool : pools) {
      if (const int filled = rte_mempool_populate_default(pool); filled < 0) return -filled;
      rte_mempool_obj_iter(pool, rte_pktmbuf_init, nullptr);
    }
    return 0;
  });
}

Result<void> PacketPools::await_buffers() {
  if (!filling_.valid()) return {};
  if (const int error = filling_.get(); error != 0)
    return tl::unexpected(no_room(plan_.pools.front().buffers, false, error));
  return {};
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
  const std::string name = name_of(number);
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

// What rte_pktmbuf_pool_create does, but for the buffers.
PacketPools::Pool PacketPools::make_empty(unsigned number, const PoolPlan& plan, std::uint16_t room) {
  const unsigned buffer = sizeof(rte_mbuf) + dataplane::kPrivateSize + room;
  Pool pool(rte_mempool_create_empty(name_of(number).c_str(), plan.buffers - 1, buffer, kPoolCache,
                                     sizeof(rte_pktmbuf_pool_private), SOCKET_ID_ANY, 0));
  if (pool == nullptr) return nullptr;
  if (const int set = rte_mempool_set_ops_byname(pool.get(), rte_mbuf_best_mempool_ops(), nullptr);
      set != 0) {
    rte_errno = -set;
    return nullptr;
  }
  rte_pktmbuf_pool_private room_of_all{
      .mbuf_data_room_size = room, .mbuf_priv_size = dataplane::kPrivateSize, .flags = 0};
  rte_pktmbuf_pool_init(pool.get(), &room_of_all);
  return pool;
}

}  // namespace vmnat::control
