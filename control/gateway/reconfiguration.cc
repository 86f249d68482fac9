// SPDX-License-Identifier: Apache-2.0
// How a gateway goes over to the plan of another configuration. Example: vm2 leaves, vm4 comes on another socket.
//
//   1. vm4's socket is opened. If that fails, it is closed again, and nothing has changed
//   2. a state is published where vm4 is a port of its network and vm2 is none: no worker polls vm2's rings from
//      its next poll on, or sends it a frame
//   3. every worker has done such a poll: some microseconds, some milliseconds when it slept
//   4. vm2's socket is closed
//   5. vm2's sessions end and its number becomes free (departures.h), while control goes on
//
// Where vm4 wants the socket of vm2, as a port does whose queues have changed, vm2 leaves before vm4's is opened, and
// comes back when that fails.
#include <fmt/format.h>
#include <rte_cycles.h>
#include <spdlog/spdlog.h>
#include <thread>

#include "control/gateway/gateway.h"
#include "control/plan/initial_state.h"
#include "control/plan/limits.h"

namespace vmnat::control {
namespace {

// For workers that are somewhere in a poll, or asleep. On a machine that is overloaded they may wait for their CPU.
constexpr std::chrono::seconds kPatience{5};
constexpr std::chrono::microseconds kLook{50};

// Sessions of who leaves, and those that the new plan does not allow any more.
std::vector<dataplane::SessionSelector> sessions_to_end(const GatewayPlan& running, const GatewayPlan& next,
                                                        const TopologyChange& change) {
  std::vector<dataplane::SessionSelector> selectors;
  for (const auto* networks : {&change.networks_left, &change.networks_shut})
    for (const NetworkIndex network : *networks) selectors.push_back({.policy = network});
  for (const NetworkIndex network : change.networks_moved)
    if (running.config.networks[network].address != next.config.networks[network].address)
      selectors.push_back({.policy = network, .internal_beyond = next.config.networks[network].address});
  for (const PortIndex port : change.ports_left)
    if (std::ranges::find(change.networks_left, running.ports[port].network) == change.networks_left.end())
      selectors.push_back({.port = port});
  if (next.rules.filter != nullptr && next.rules.filter != running.rules.filter)
    selectors.push_back({.rules = next.rules.filter});
  return selectors;
}

// A network that comes opens nothing until LiveNat has its policy.
std::shared_ptr<const conntrack::NatPolicies> for_networks(
    std::shared_ptr<const conntrack::NatPolicies> policies, std::size_t networks) {
  if (policies->size() >= networks) return policies;
  auto grown = std::make_shared<conntrack::NatPolicies>(*policies);
  grown->resize(networks);
  return grown;
}

}  // namespace

Result<TopologyChange> Gateway::reconfigure(GatewayPlan next) {
  TopologyChange change = difference(plan_, next);
  auto opened = open_who_comes(next, change);
  if (!opened) return tl::unexpected(opened.error());
  Departures::Party leaving{.ports = change.ports_left,
                            .networks = change.networks_left,
                            .sessions = sessions_to_end(plan_, next, change)};
  plan_ = std::move(next);
  session_keeper_->set_names(session_names(rented_now()));
  const std::vector<PortTotals> counted = port_totals(workers_, plan_.ports.size());
  for (auto& [port, device] : *opened) {
    port_accounts_->begin(port, counted[port]);
    take_device(port, std::move(device));
    tell_pollers(port);
  }
  publish_plan();
  closing_.push_back({states_->current().generation, change.ports_left});
  wait_until_unused();
  departures_.add(std::move(leaving));
  return change;
}

void Gateway::advance(SteadyTime now) {
  close_unused();
  departures_.advance(now);
}

Result<Gateway::OpenedDevices> Gateway::open_who_comes(const GatewayPlan& next,
                                                       const TopologyChange& change) {
  OpenedDevices opened;
  std::vector<Exchange> exchanges;
  for (const PortIndex port : change.ports_come) {
    const auto former = std::ranges::find_if(change.ports_left, [&](PortIndex left) {
      return is_same_place(plan_.devices[left], next.devices[port]);
    });
    if (former != change.ports_left.end()) {
      exchanges.push_back({*former, port});
      continue;
    }
    auto device = devices_.open(next.devices[port], pools_by_queue(next.ports[port]));
    if (!device) return tl::unexpected(device.error());
    opened.emplace(port, std::move(*device));
  }
  if (auto done = exchange(next, exchanges, opened); !done) return tl::unexpected(done.error());
  return opened;
}

Result<void> Gateway::exchange(const GatewayPlan& next, const std::vector<Exchange>& exchanges,
                               OpenedDevices& opened) {
  if (exchanges.empty()) return {};
  std::vector<PortIndex> leaving;
  leaving.reserve(exchanges.size());
  for (const auto& [leaves, comes] : exchanges) leaving.push_back(leaves);
  withdraw(leaving);
  auto done = wait_until_unused() ? open_in_exchange(next, exchanges, opened)
                                  : tl::unexpected(Error{next.devices[exchanges.front().comes].name,
                                                         "a worker does not answer; nothing was changed"});
  if (!done) bring_back(leaving);
  return done;
}

Result<void> Gateway::open_in_exchange(const GatewayPlan& next, const std::vector<Exchange>& exchanges,
                                       OpenedDevices& opened) {
  for (const auto& [leaves, comes] : exchanges) {
    auto device = devices_.open(next.devices[comes], pools_by_queue(next.ports[comes]));
    if (!device) {
      opened.clear();  // before who leaves comes back
      return tl::unexpected(device.error());
    }
    opened.emplace(comes, std::move(*device));
  }
  return {};
}

// The ports stay planned, but no worker is to use them.
void Gateway::withdraw(const std::vector<PortIndex>& ports) {
  dataplane::ForwardingState next = states_->current();
  for (const PortIndex port : ports) plan_.ports[port].exists = next.ports[port].up = false;
  polling_.fill(next);
  states_->publish(std::move(next));
  closing_.push_back({states_->current().generation, ports});
}

void Gateway::bring_back(const std::vector<PortIndex>& ports) {
  std::erase_if(closing_, [&](const Closing& closing) { return closing.ports == ports; });
  for (const PortIndex port : ports) {
    if (devices_.find(port) == nullptr) {
      auto device = devices_.open(plan_.devices[port], pools_by_queue(plan_.ports[port]));
      if (device)
        take_device(port, std::move(*device));
      else
        spdlog::error("port {} cannot be brought back: {}", plan_.ports[port].name,
                      to_string(device.error()));
    }
    plan_.ports[port].exists = devices_.find(port) != nullptr;  // else the next change opens it
  }
  publish_plan();
}

void Gateway::publish_plan() {
  dataplane::ForwardingState next = states_->current();
  set_topology(plan_.config, plan_.ports, next);
  set_limits(plan_.config, plan_.ports, {rte_rdtsc(), rte_get_tsc_hz()}, next);
  next.policies = for_networks(next.policies, next.networks.size());
  set_rules(plan_.rules.filter, next);
  polling_.fill(next);
  states_->publish(std::move(next));
  size_socket_queues();
}

// True: none is left.
bool Gateway::close_unused() {
  const std::uint64_t seen = workers_.least_seen_generation();
  std::erase_if(closing_, [&](const Closing& closing) {
    if (seen < closing.awaited_state) return false;
    for (const PortIndex port : closing.ports) devices_.close(port);
    return true;
  });
  return closing_.empty();
}

// False: some worker has not done a poll for seconds. advance() closes the devices when it has.
bool Gateway::wait_until_unused() {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!close_unused()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(kLook);
  }
  return true;
}

}  // namespace vmnat::control
