// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/gateway.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_cycles.h>
#include <spdlog/spdlog.h>

#include "base/random_seed.h"
#include "control/image/restore.h"
#include "control/plan/initial_state.h"
#include "control/plan/limits.h"
#include "control/plan/steering_plan.h"

namespace vmnat::control {
namespace {

using dataplane::kUplinkPort;

std::string node_text(int node) {
  return node == kNoNode ? std::string{} : fmt::format(", NUMA node {}", node);
}

NicSteering steering_of(const Device& uplink) {
  if (uplink.is_dpdk()) return steer_replies(uplink.port_id(), uplink.queues(), uplink.rss_table_capacity());
  if (uplink.interface() != nullptr && uplink.interface()->spreads_by_port())
    return {.way = SteeringWay::Fanout,
            .queues = plan_fanout(uplink.queues()),
            .details = "by a fanout of packet sockets"};
  return {.details = fmt::format("a {} port does not choose queues", uplink.kind())};
}

std::vector<std::string> uplinks_of_networks(const config::Config& config,
                                             const dataplane::ForwardingState& state) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < config.networks.size(); ++i)
    names.push_back(config::uplink_name(config, i < state.networks.size() ? state.networks[i].uplink : 0));
  return names;
}

dataplane::Idle idle_of(config::Idle idle) {
  return idle == config::Idle::Poll ? dataplane::Idle::Poll : dataplane::Idle::Adaptive;
}

}  // namespace

Result<std::unique_ptr<Gateway>> Gateway::start(const config::Config& config, const EalPlan& eal) {
  const auto worker_count = static_cast<unsigned>(eal.worker_cpus.size());
  std::unique_ptr<Gateway> gateway(new Gateway(plan_gateway(config, worker_count), eal));
  auto done = gateway->find_former_sessions();
  if (done) done = gateway->make_pools(config, eal);
  if (done) done = gateway->open_devices();
  if (done) gateway->tell_placement();
  if (done && worker_count > 1) gateway->steer_uplink();
  if (done) done = gateway->make_external_ports();
  if (done) done = gateway->make_rules();
  if (done) gateway->publish_first_state();
  if (done) done = gateway->make_rings();
  if (done) done = gateway->make_workers(config, eal);
  if (done) done = gateway->pools_->await_buffers();
  if (done) done = gateway->workers_.start();
  if (!done) return tl::unexpected(done.error());
  return gateway;
}

Gateway::Gateway(GatewayPlan plan, const EalPlan& eal)
    : eal_(eal),
      plan_(std::move(plan)),
      doorbells_(plan_.worker_count),
      polling_(plan_.ports, devices_, plan_.worker_count,
               [this](WorkerIndex worker) { return pools_->of_worker(worker); }),
      departures_(plan_.numbers, workers_, flush_turns_) {}

Result<void> Gateway::find_former_sessions() {
  auto keeper =
      SessionKeeper::open(plan_.config, eal_.uses_hugepages, this_moment(rte_rdtsc(), rte_get_tsc_hz()));
  if (!keeper) return tl::unexpected(keeper.error());
  session_keeper_.emplace(std::move(*keeper));
  workers_.set_start(session_keeper_->start_tsc());
  keep_owners(session_keeper_->former_names(), plan_);
  keep_ways(session_keeper_->former_names(), plan_);
  return {};
}

// Before any worker runs. An address that DHCP had given is expected to be given again: the sessions on it wait
// for the lease.
void Gateway::restore_sessions(const Tables& tables) {
  const SessionNames names = session_names(formerly_rented());
  session_keeper_->set_names(names);
  const Today today{names, states_->current(), plan_forwards(plan_.nat.config, formerly_rented()),
                    *external_ports_};
  session_keeper_->restore(today, tables, workers_.now());
  port_accounts_.emplace(plan_.ports, session_keeper_->carried());
  session_keeper_->take_effect();
}

RentedAddresses Gateway::formerly_rented() const {
  const SessionNames former = session_keeper_->former_names();
  return rented_in(former.rented, former.more_rented);
}

RentedAddresses Gateway::rented_now() const {
  return rented_in(session_keeper_->rented(), session_keeper_->more_rented());
}

RentedAddresses Gateway::rented_in(net::Ipv4Addr of_first,
                                   const std::map<std::string, net::Ipv4Addr>& more) const {
  RentedAddresses rented;
  for (std::size_t i = 0; i < config::uplink_count(plan_.config); ++i) {
    if (config::uplink_at(plan_.config, i).address) continue;
    const auto found = more.find(config::uplink_name(plan_.config, i));
    if (i == 0)
      rented.set(0, of_first);
    else if (found != more.end())
      rented.set(i, found->second);
  }
  return rented;
}

SessionNames Gateway::session_names(const RentedAddresses& rented) const {
  SessionNames names{.ports = {}, .owners = {}, .networks = {}, .rented = rented[0]};
  for (std::size_t i = 1; i < config::uplink_count(plan_.config); ++i)
    names.more_rented.emplace(config::uplink_name(plan_.config, i), rented[i]);
  if (!plan_.config.uplinks.empty()) names.uplinks = uplinks_of_networks(plan_.config, states_->current());
  for (const PortPlan& port : plan_.ports) {
    names.ports.push_back(port.name);
    names.owners.push_back(port.owner);
  }
  for (const config::Network& network : plan_.config.networks) names.networks.push_back(network.name);
  return names;
}

Result<void> Gateway::make_pools(const config::Config& config, const EalPlan& eal) {
  auto pools = PacketPools::create(config, plan_.longest_packet, eal);
  if (!pools) return tl::unexpected(pools.error());
  pools_ = std::move(*pools);
  return {};
}

Result<void> Gateway::open_devices() {
  for (std::size_t i = 0; i < plan_.devices.size(); ++i) {
    if (plan_.devices[i].takes_buffers())
      if (auto filled = pools_->await_buffers(); !filled) return filled;
    auto opened = devices_.open(plan_.devices[i], pools_by_queue(plan_.ports[i]));
    if (!opened) return tl::unexpected(opened.error());
    take_device(static_cast<PortIndex>(i), std::move(*opened));
  }
  return {};
}

// Each queue's is that of the worker that polls it: both go round the workers.
std::vector<rte_mempool*> Gateway::pools_by_queue(const PortPlan& port) const {
  std::vector<rte_mempool*> pools;
  for (unsigned queue = 0; queue < plan_.worker_count; ++queue)
    pools.push_back(pools_->of_worker(polling_worker(port, queue, plan_.worker_count)));
  return pools;
}

// For the log: a line for the buffers and one a port.
void Gateway::tell_placement() const {
  spdlog::info("{}", to_string(pools_->plan()));
  for (std::size_t port = 0; port < plan_.ports.size(); ++port) tell_pollers(port);
}

// A port on another node than its worker works, but each of its frames crosses between the nodes.
void Gateway::tell_pollers(std::size_t port) const {
  const std::string& name = plan_.ports[port].name;
  const int port_node = devices_[port].numa_node();
  std::vector<std::string> pollers;
  for (unsigned queue = 0; queue < devices_[port].queues(); ++queue) {
    const WorkerIndex worker = polling_worker(plan_.ports[port], queue, plan_.worker_count);
    const unsigned cpu = eal_.worker_cpus[worker];
    const int cpu_node = eal_.worker_nodes[worker];
    pollers.push_back(
        fmt::format("queue {} by worker {} on CPU {}{}", queue, worker, cpu, node_text(cpu_node)));
    if (port_node != kNoNode && cpu_node != kNoNode && port_node != cpu_node)
      spdlog::warn(
          "port {} is on NUMA node {}, its worker's CPU {} on node {}: choose dataplane.workers on node {}",
          name, port_node, cpu, cpu_node, port_node);
  }
  spdlog::info("port {} ({}{}) is polled: {}", name, devices_[port].kind(), node_text(port_node),
               fmt::join(pollers, "; "));
}

Result<GatewayPlan> Gateway::plan(const config::Config& wanted) const {
  auto next = plan_change(plan_, wanted);
  if (!next) return next;
  auto rules = plan_rules(next->config, next->ports, next->worker_count, plan_.rules);
  if (!rules) return tl::unexpected(rules.error());
  next->rules = *std::move(rules);
  return next;
}

void Gateway::steer_uplink() {
  const Device& uplink = devices_[kUplinkPort];
  steering_ = steering_of(uplink);
  if (steering_->way == SteeringWay::Rings)
    spdlog::info("{} workers: replies come to their session's worker by rings in software; {}",
                 plan_.worker_count, steering_->details);
  else
    spdlog::info("{} workers: the uplink brings TCP and UDP replies to their session's worker {}",
                 plan_.worker_count, steering_->details);
}

Result<void> Gateway::make_external_ports() {
  const auto homes = steering_ ? plan_homes(steering_->queues, plan_.ports[kUplinkPort], plan_.worker_count)
                               : std::vector<WorkerIndex>{};
  const unsigned addresses = plan_.nat.external->size();
  external_ports_ = conntrack::ExternalPorts::create(external_room(addresses), plan_.worker_count, homes);
  if (external_ports_ == nullptr)
    return tl::unexpected(
        Error{"networks[].nat.addresses",
              fmt::format("no memory for the ports of {} addresses", external_room(addresses))});
  external_ports_->populate(addresses);
  return {};
}

// Sessions of the process before go on if the rules of this one accept them.
Result<void> Gateway::make_rules() {
  auto rules = plan_rules(plan_.config, plan_.ports, plan_.worker_count);
  if (!rules) return tl::unexpected(rules.error());
  plan_.rules = *std::move(rules);
  if (plan_.rules.filter != nullptr) departures_.add({.sessions = {{.rules = plan_.rules.filter}}});
  return {};
}

// As planned, with what the devices turned out to be.
void Gateway::publish_first_state() {
  dataplane::ForwardingState state = initial_state(plan_.config, plan_.ports, plan_.ways);
  set_limits(plan_.config, plan_.ports, {rte_rdtsc(), rte_get_tsc_hz()}, state);
  const RentedAddresses awaited = formerly_rented();
  state.external_addresses = with_rented(plan_.nat.external, awaited);
  state.uplinks_of_external = plan_.nat.uplinks_of_external;
  state.policies = std::make_shared<const conntrack::NatPolicies>(plan_.nat.policies);
  for (std::size_t i = 0; i < state.uplinks.size(); ++i) {
    state.uplinks[i].awaited = awaited[i];
    state.uplinks[i].mac = config::uplink_at(plan_.config, i).mac.value_or(devices_[i].mac());
  }
  set_rules(plan_.rules.filter, state);
  polling_.fill(state);
  states_ = std::make_unique<StatePublisher>(std::move(state), doorbells_.of_workers());
  size_socket_queues();
}

// What a limited host sends waits in its socket, for as long as what is for it may.
void Gateway::size_socket_queues() {
  const dataplane::LimitTable* const limits = states_->current().limits.get();
  for (std::size_t port = 0; port < plan_.ports.size(); ++port) {
    Device* const device = devices_.find(port);
    if (device == nullptr || device->interface() == nullptr) continue;
    const dataplane::PortLimits* const of_port =
        limits != nullptr ? limits->of(static_cast<PortIndex>(port)) : nullptr;
    device->interface()->let_wait(of_port != nullptr ? of_port->out.queue() : PacketQueue::kMostWaiting);
  }
}

Result<void> Gateway::make_rings() {
  auto rings = WorkerRings::create(doorbells_, config::uplink_count(plan_.config));
  if (!rings) return tl::unexpected(rings.error());
  rings_ = std::move(*rings);
  return {};
}

Result<Gateway::Tables> Gateway::make_tables(const config::Config& config, const EalPlan& eal) {
  const std::uint32_t capacity = config.conntrack.sessions / plan_.worker_count;
  session_keeper_->make_image(eal.worker_nodes, capacity);
  if (SessionImage* image = session_keeper_->image(); image != nullptr && !image->place().is_huge)
    sparse_records_.emplace(image->memory());
  Tables tables;
  for (unsigned i = 0; i < plan_.worker_count; ++i) {
    const auto index = static_cast<WorkerIndex>(i);
    const PreferNode near_worker(eal.worker_nodes[i]);  // for the pages that construction touches
    tables.push_back(conntrack::Conntrack::create({.capacity = capacity,
                                                   .seed = random_seed(),
                                                   .worker = index,
                                                   .vm_ports = kMostPorts,
                                                   .guests = states_->current().polled[i]->sharers().guests,
                                                   .placement = {conntrack::Pages::Huge, eal.worker_nodes[i]},
                                                   .records = session_keeper_->records(index)},
                                                  *external_ports_, *states_->current().external_addresses,
                                                  *states_->current().policies));
    if (tables.back() == nullptr)
      return tl::unexpected(
          Error{"conntrack.sessions", fmt::format("no memory for {} sessions", config.conntrack.sessions)});
  }
  return tables;
}

Result<void> Gateway::make_workers(const config::Config& config, const EalPlan& eal) {
  auto tables = make_tables(config, eal);
  if (!tables) return tl::unexpected(tables.error());
  restore_sessions(*tables);
  for (unsigned i = 0; i < plan_.worker_count; ++i)
    if (!workers_.add(settings_of(static_cast<WorkerIndex>(i), config.dataplane.idle),
                      std::move((*tables)[i]), *external_ports_))
      return tl::unexpected(Error{"dataplane.workers", "no memory for the counters of ports"});
  return {};
}

dataplane::Worker::Settings Gateway::settings_of(WorkerIndex worker, config::Idle idle) {
  return {.index = worker,
          .worker_count = plan_.worker_count,
          .uplink_count = static_cast<PortIndex>(config::uplink_count(plan_.config)),
          .idle = idle_of(idle),
          .rings = rings_->of_worker(worker),
          .published = &states_->published(),
          .doorbell = &doorbells_.of_workers()[worker],
          .start_tsc = workers_.start_tsc(),
          .tsc_hz = rte_get_tsc_hz(),
          .seed = random_seed()};
}

void Gateway::take_device(PortIndex port, std::unique_ptr<Device> device) {
  devices_.put(port, std::move(device));
  connect_doorbells(port);
}

// Who is to hear of guests that come and go: control, and the workers of their queues.
void Gateway::connect_doorbells(PortIndex port) {
  dataplane::VhostPort* const vhost = devices_[port].for_workers().vhost;
  if (vhost == nullptr) return;
  vhost->tell_control(doorbells_.of_control());
  for (std::uint16_t queue = 0; queue < devices_[port].queues(); ++queue)
    vhost->tell_worker(queue,
                       doorbells_.of_workers()[polling_worker(plan_.ports[port], queue, plan_.worker_count)]);
}

}  // namespace vmnat::control
