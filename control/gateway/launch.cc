// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/launch.h"

#include <algorithm>
#include <bit>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <spdlog/spdlog.h>

#include "base/random_seed.h"
#include "control/plan/initial_state.h"
#include "control/plan/policies.h"

namespace vmnat::control {
namespace {

constexpr unsigned kInjectRingSize = 1024;
constexpr unsigned kHandoffRingSize = 2048;
constexpr unsigned kPoolCache = 256;
constexpr unsigned kMaxPackets = 65536;  // more than all queues and rings of an ordinary set-up hold

// All that the budgets of a tick let through (punt.h), and the uplink's of four ticks.
unsigned punt_ring_size(const std::vector<PortPlan>& ports) {
  const auto segments = static_cast<std::size_t>(
      std::ranges::count_if(ports, [](const PortPlan& port) { return is_segment(port); }));
  return std::bit_ceil(
      static_cast<unsigned>(dataplane::PuntShares::among(ports.size()).sum(ports.size(), segments)) + 1);
}
unsigned learn_ring_size(std::size_t ports) {
  return std::bit_ceil(static_cast<unsigned>(ports) * dataplane::kLearnedMacs + 1);
}
constexpr unsigned kUplinkPuntRingSize = std::bit_ceil(4 * dataplane::kUplinkPunts);

// A buffer takes a whole frame where it can: chains are for jumbo frames of VMs.
std::uint16_t data_room(const config::Config& config) {
  std::uint16_t longest = config.uplink.mtu;
  for (const auto& network : config.networks) longest = std::max(longest, network.mtu);
  return static_cast<std::uint16_t>(buffer_bytes(longest) + RTE_PKTMBUF_HEADROOM);
}

int run_worker(void* worker) {
  static_cast<dataplane::Worker*>(worker)->run();
  return 0;
}

}  // namespace

void PacketPoolFree::operator()(rte_mempool* pool) const {
  rte_mempool_free(pool);
}
void RingFree::operator()(rte_ring* ring) const {
  rte_ring_free(ring);
}

Result<std::unique_ptr<Launched>> Launched::launch(const config::Config& config, const EalPlan& eal) {
  std::unique_ptr<Launched> launched(new Launched);
  const auto worker_count = static_cast<unsigned>(eal.worker_cpus.size());
  launched->start_tsc_ = rte_rdtsc();
  launched->ports_ = plan_ports(config, worker_count);
  auto done = launched->make_pools(config, eal);
  if (done) done = launched->open_devices(config, worker_count);
  if (done) launched->tell_placement(eal);
  if (done && worker_count > 1) launched->steer_uplink(worker_count);
  if (done) done = launched->make_workers(config, eal);
  if (done) done = launched->start_workers();
  if (!done) return tl::unexpected(done.error());
  return launched;
}

Launched::~Launched() {
  for (unsigned i = 0; i < running_; ++i) workers_[i]->request_stop();
  for (unsigned i = 0; i < running_; ++i) rte_eal_wait_lcore(i + 1);
  for (ControlRings& rings : control_rings_) {
    rte_mbuf* frame = nullptr;
    for (dataplane::FrameRing* ring : {&rings.punt, &rings.uplink_punt})
      while (ring->pop(&frame, 1) == 1) rte_pktmbuf_free(frame);
  }
}

// Half of the memory is for packets: tables live in memory of their own, touched as they fill.
Result<void> Launched::make_pools(const config::Config& config, const EalPlan& eal) {
  const std::uint16_t room = data_room(config);
  const std::uint64_t element = room + sizeof(rte_mbuf) + dataplane::kPrivateSize + 128;
  const auto count = static_cast<unsigned>(
      std::min<std::uint64_t>(kMaxPackets, config.dataplane.memory.bytes / 2 / element));
  pools_plan_ = plan_pools(eal.worker_nodes, eal.control_node, count,
                           eal.uses_hugepages ? Placeable::Yes : Placeable::No);
  for (const PoolPlan& plan : pools_plan_.pools) {
    const std::string name = fmt::format("packets{}", pools_.size());
    const auto make = [&](int node) {
      return PacketPool(rte_pktmbuf_pool_create(name.c_str(), plan.buffers - 1, kPoolCache,
                                                dataplane::kPrivateSize, room, node));
    };
    PacketPool pool = make(plan.node == kNoNode ? SOCKET_ID_ANY : plan.node);
    if (pool == nullptr && plan.node != kNoNode) {
      spdlog::warn("NUMA node {} has no hugepages for {} packet buffers: they come from another node",
                   plan.node, plan.buffers);
      pool = make(SOCKET_ID_ANY);
    }
    if (pool == nullptr)
      return tl::unexpected(
          Error{"dataplane.memory",
                fmt::format("no room for {} packet buffers{}: {}", plan.buffers,
                            eal.uses_hugepages ? " in hugepages" : "", rte_strerror(rte_errno))});
    pools_.push_back(std::move(pool));
  }
  return {};
}

// Each queue's is that of the worker that polls it: both go round the workers.
std::vector<rte_mempool*> Launched::pools_by_queue(const PortPlan& port) const {
  const auto worker_count = static_cast<unsigned>(pools_plan_.by_worker.size());
  std::vector<rte_mempool*> pools;
  for (unsigned queue = 0; queue < worker_count; ++queue)
    pools.push_back(pools_[pools_plan_.by_worker[polling_worker(port, queue, worker_count)]].get());
  return pools;
}

Result<void> Launched::open_devices(const config::Config& config, unsigned worker_count) {
  devices_.reserve(ports_.size());
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    DeviceRequest request{.number = static_cast<unsigned>(i)};
    if (const config::VmPort* port = ports_[i].config) {
      request.name = "port " + ports_[i].name;
      request.vhost_user = port->vhost_user;
      request.mode = port->mode;
      request.device = port->device;
      request.mtu = config.networks[ports_[i].network].mtu;
      request.queues = port->queues;
      request.promiscuous = Promiscuous::Yes;  // the gateway's MAC is not the device's
    } else {
      request.name = "uplink";
      request.device = config.uplink.device;
      request.mtu = config.uplink.mtu;
      request.queues = config.uplink.queues.value_or(worker_count);
      request.fewer_queues_will_do = !config.uplink.queues;
      request.promiscuous = config.uplink.mac ? Promiscuous::Yes : Promiscuous::No;
    }
    auto device = Device::open(request, pools_by_queue(ports_[i]));
    if (!device) return tl::unexpected(device.error());
    devices_.push_back(std::move(*device));
  }
  return {};
}

// The plan, a line for the buffers and one a port. A port on another node than its worker works, but each of
// its frames crosses between the nodes.
void Launched::tell_placement(const EalPlan& eal) const {
  const auto worker_count = static_cast<unsigned>(eal.worker_cpus.size());
  const auto node_text = [](int node) {
    return node == kNoNode ? std::string{} : fmt::format(", NUMA node {}", node);
  };
  spdlog::info("{}", to_string(pools_plan_));
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    const int port_node = devices_[i].numa_node();
    std::vector<std::string> pollers;
    for (unsigned queue = 0; queue < devices_[i].queues(); ++queue) {
      const WorkerIndex worker = polling_worker(ports_[i], queue, worker_count);
      const unsigned cpu = eal.worker_cpus[worker];
      const int cpu_node = eal.worker_nodes[worker];
      pollers.push_back(
          fmt::format("queue {} by worker {} on CPU {}{}", queue, worker, cpu, node_text(cpu_node)));
      if (port_node != kNoNode && cpu_node != kNoNode && port_node != cpu_node)
        spdlog::warn(
            "port {} is on NUMA node {}, its worker's CPU {} on node {}: choose dataplane.workers on node {}",
            ports_[i].name, port_node, cpu, cpu_node, port_node);
    }
    spdlog::info("port {} ({}{}) is polled: {}", ports_[i].name, devices_[i].kind(), node_text(port_node),
                 fmt::join(pollers, "; "));
  }
}

// VM ports whose sessions are this worker's: those it polls alone, and those that are spread over all.
unsigned Launched::guests_of(WorkerIndex worker, unsigned worker_count) const {
  unsigned guests = 0;
  for (std::size_t port = dataplane::kUplinkPort + 1; port < ports_.size(); ++port)
    guests += ports_[port].owner == worker || (worker_count > 1 && devices_[port].queues() > 1) ? 1 : 0;
  return guests;
}

void Launched::steer_uplink(unsigned worker_count) {
  const Device& uplink = devices_[dataplane::kUplinkPort];
  steering_ = uplink.is_vhost()
                  ? NicSteering{.details = "a vhost-user port does not choose queues"}
                  : steer_replies(uplink.port_id(), uplink.queues(), uplink.rss_table_capacity());
  if (steering_->way == SteeringWay::Rings)
    spdlog::info("{} workers: replies come to their session's worker by rings in software; {}", worker_count,
                 steering_->details);
  else
    spdlog::info("{} workers: the NIC brings TCP and UDP replies to their session's worker {}", worker_count,
                 steering_->details);
}

Result<rte_ring*> Launched::make_ring(const std::string& name, unsigned size, unsigned element_size) {
  rte_ring* ring =
      rte_ring_create_elem(name.c_str(), element_size, size, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  if (ring == nullptr)
    return tl::unexpected(Error{"dataplane.memory", fmt::format("no room for ring {}", name)});
  rings_.emplace_back(ring);
  return ring;
}

Result<std::vector<dataplane::Rings>> Launched::make_rings(unsigned worker_count) {
  std::vector<dataplane::Rings> rings(worker_count);
  constexpr unsigned kFrame = sizeof(rte_mbuf*);
  for (unsigned i = 0; i < worker_count; ++i) {
    const auto punt = make_ring(fmt::format("punt{}", i), punt_ring_size(ports_), kFrame);
    const auto uplink_punt = make_ring(fmt::format("uplink_punt{}", i), kUplinkPuntRingSize, kFrame);
    const auto inject = make_ring(fmt::format("inject{}", i), kInjectRingSize, kFrame);
    const auto learn =
        make_ring(fmt::format("learn{}", i), learn_ring_size(ports_.size()), sizeof(dataplane::LearnedMac));
    for (const auto& ring : {punt, uplink_punt, inject, learn})
      if (!ring) return tl::unexpected(ring.error());
    rings[i].punt = dataplane::FrameRing(*punt);
    rings[i].uplink_punt = dataplane::FrameRing(*uplink_punt);
    rings[i].inject = dataplane::FrameRing(*inject);
    rings[i].learn = dataplane::LearnRing(*learn);
    control_rings_.push_back({rings[i].punt, rings[i].uplink_punt, rings[i].learn, rings[i].inject});
    rings[i].handoff_to.resize(worker_count);
  }
  for (unsigned from = 0; from < worker_count; ++from) {
    for (unsigned to = 0; to < worker_count; ++to) {
      if (from == to) continue;
      const auto ring = make_ring(fmt::format("handoff{}-{}", from, to), kHandoffRingSize, kFrame);
      if (!ring) return tl::unexpected(ring.error());
      rings[from].handoff_to[to] = dataplane::FrameRing(*ring);
      rings[to].handoff_from.emplace_back(*ring);
    }
  }
  return rings;
}

Result<void> Launched::make_workers(const config::Config& config, const EalPlan& eal) {
  const auto worker_count = static_cast<unsigned>(eal.worker_cpus.size());
  dataplane::ForwardingState state = initial_state(config, ports_);
  for (std::size_t i = 0; i < ports_.size(); ++i)
    state.ports[i].is_spread = devices_[i].queues() > 1 && worker_count > 1;
  state.uplink.mac = config.uplink.mac.value_or(devices_[dataplane::kUplinkPort].mac());
  const auto external = plan_external_addresses(config);
  address_lists_ = plan_address_lists(config, external);
  const auto homes = steering_ ? plan_homes(steering_->queues, ports_[dataplane::kUplinkPort], worker_count)
                               : std::vector<WorkerIndex>{};
  external_ports_ = conntrack::ExternalPorts::create(external, worker_count, homes);
  if (external_ports_ == nullptr)
    return tl::unexpected(Error{"networks[].nat.addresses",
                                fmt::format("no memory for the ports of {} addresses", external.size())});
  const auto policies = std::make_shared<const conntrack::NatPolicies>(plan_policies(config, address_lists_));
  state.policies = policies;
  states_ = std::make_unique<StatePublisher>(std::move(state));

  auto rings = make_rings(worker_count);
  if (!rings) return tl::unexpected(rings.error());
  std::vector<dataplane::BurstPort> devices;
  for (Device& device : devices_) devices.push_back(device.for_workers());
  for (unsigned i = 0; i < worker_count; ++i) {
    const auto index = static_cast<WorkerIndex>(i);
    const PreferNode near_worker(eal.worker_nodes[i]);  // for the pages that construction touches
    dataplane::Worker::Settings settings{.index = index,
                                         .worker_count = worker_count,
                                         .idle = config.dataplane.idle == config::Idle::Poll
                                                     ? dataplane::Idle::Poll
                                                     : dataplane::Idle::Adaptive,
                                         .devices = devices,
                                         .rings = std::move((*rings)[i]),
                                         .published = &states_->published(),
                                         .start_tsc = start_tsc_,
                                         .tsc_hz = rte_get_tsc_hz(),
                                         .seed = random_seed()};
    for (std::size_t port = 0; port < ports_.size(); ++port)
      for (std::uint16_t queue = 0; queue < devices_[port].queues(); ++queue)
        if (polling_worker(ports_[port], queue, worker_count) == i)
          settings.receive_queues.push_back({.device = devices[port],
                                             .queue_id = queue,
                                             .port = static_cast<PortIndex>(port),
                                             .vhost_pool = pools_[pools_plan_.by_worker[i]].get()});
    auto table = conntrack::Conntrack::create({.capacity = config.conntrack.sessions / worker_count,
                                               .seed = random_seed(),
                                               .worker = index,
                                               .vm_ports = static_cast<unsigned>(ports_.size()),
                                               .guests = guests_of(index, worker_count),
                                               .placement = {conntrack::Pages::Huge, eal.worker_nodes[i]}},
                                              *external_ports_, *policies);
    if (table == nullptr)
      return tl::unexpected(
          Error{"conntrack.sessions", fmt::format("no memory for {} sessions", config.conntrack.sessions)});
    workers_.push_back(
        std::make_unique<dataplane::Worker>(std::move(settings), std::move(table), *external_ports_));
  }
  return {};
}

Result<void> Launched::start_workers() {
  for (const auto& worker : workers_) {
    const unsigned lcore = running_ + 1;
    if (const int status = rte_eal_remote_launch(run_worker, worker.get(), lcore); status != 0)
      return tl::unexpected(Error{
          "dataplane.workers", fmt::format("worker {} does not start: {}", running_, rte_strerror(-status))});
    ++running_;
  }
  return {};
}

Time Launched::now() const {
  const std::uint64_t ticks = (rte_rdtsc() - start_tsc_) * Ticks::period::den / rte_get_tsc_hz();
  return Time{Ticks{static_cast<std::uint32_t>(ticks)}};
}

std::uint64_t Launched::least_seen_generation() const {
  std::uint64_t least_seen = UINT64_MAX;
  for (const auto& worker : workers_) least_seen = std::min(least_seen, worker->seen_generation());
  return least_seen;
}

void Launched::reclaim_states() {
  states_->reclaim(least_seen_generation());
}

}  // namespace vmnat::control
