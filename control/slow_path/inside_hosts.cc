// SPDX-License-Identifier: Apache-2.0
#include "control/slow_path/inside_hosts.h"

#include <algorithm>
#include <functional>
#include <spdlog/spdlog.h>

#include "control/plan/static_nat.h"
#include "net/arp.h"

namespace vmnat::control {

// Whom remotes reach is asked for before the first frame for them comes, so that none has to wait.
InsideHosts::InsideHosts(const config::Config& config, const std::vector<PortPlan>& ports,
                         const StatePublisher& states, LogBudget& log, SteadyTime now)
    : ports_(ports),
      states_(states),
      log_(log),
      asking_(states.current().networks.size()),
      has_changed_(states.current().networks.size()) {
  for (const dataplane::Network& network : states.current().networks)
    neighbors_.emplace_back(network.mac, network.gateway.address);
  follow_targets(config, now);
}

void InsideHosts::follow_targets(const config::Config& config, SteadyTime now) {
  std::set<std::pair<NetworkIndex, net::Ipv4Addr>> targets;
  for (const ForwardPlan& forward : plan_forwards(config))
    for (const net::Endpoint server : forward.to) targets.emplace(forward.network, server.address);
  for (const dataplane::AddressPair& pair : plan_static_nat(config))
    targets.emplace(pair.network, pair.internal);
  for (const auto& [network, address] : targets)
    if (!targets_.contains({network, address})) neighbors_[network].keep_resolved(address, now);
  for (const auto& [network, address] : targets_)
    if (!targets.contains({network, address})) neighbors_[network].release(address);
  targets_ = std::move(targets);
}

void InsideHosts::follow_networks(std::span<const NetworkIndex> changed) {
  const auto& networks = states_.current().networks;
  asking_.resize(networks.size());
  has_changed_.resize(networks.size());
  while (neighbors_.size() < networks.size()) neighbors_.emplace_back(net::MacAddr{}, net::Ipv4Addr{});
  for (const NetworkIndex network : changed) {
    neighbors_[network].start_over(networks[network].mac, networks[network].gateway.address);
    std::erase_if(targets_, [&](const auto& target) { return target.first == network; });
    asking_[network] = {};
    has_changed_[network] = true;
  }
}

bool InsideHosts::note_gateway_claim(std::span<const std::byte> frame, PortIndex port, SteadyTime now) {
  const PortPlan& plan = ports_[port];
  const net::Ipv4Addr gateway = states_.current().networks[plan.network].gateway.address;
  const auto claim = net::arp_claim_in(frame);
  if (!claim || claim->address != gateway) return false;
  ++gateway_claims_;
  log_.log(spdlog::level::warn, {"conflict", plan.name}, now,
           "port {}: {} says that it has the gateway's address {}", plan.name, net::to_string(claim->mac),
           net::to_string(gateway));
  return true;
}

void InsideHosts::hear_arp(std::span<const std::byte> frame, PortIndex port, SteadyTime now) {
  neighbors_[ports_[port].network].receive_arp(frame, now);
}

void InsideHosts::wait_for_host(net::Ipv4Addr host, const FrameBytes& frame, PortIndex from, SteadyTime now) {
  const NetworkIndex network = states_.current().network_of(host);
  if (network != dataplane::kNoNetwork) neighbors_[network].send_to(host, frame, from, now);
}

void InsideHosts::ask(NetworkIndex network, net::Ipv4Addr address, Injector& injector) {
  const dataplane::Network& on = states_.current().networks[network];
  transmit(net::arp_request(on.mac, on.gateway.address, address).bytes(), network, injector);
}

void InsideHosts::advance(SteadyTime now) {
  for (std::size_t i = 0; i < neighbors_.size(); ++i) {
    if (asking_[i].is_due && now >= asking_[i].next) {
      neighbors_[i].link_returned(now);
      asking_[i] = {.next = now + std::chrono::seconds(1)};
    }
    neighbors_[i].advance(now);
    if (neighbors_[i].take_changed()) has_changed_[i] = true;
  }
}

bool InsideHosts::has_changed() const {
  return std::ranges::any_of(has_changed_, std::identity{});
}

void InsideHosts::fill(dataplane::ForwardingState& next, const std::vector<bool>& has_new_macs) {
  for (std::size_t i = 0; i < neighbors_.size(); ++i) {
    if (has_changed_[i] || has_new_macs[i])
      next.networks[i].hosts = hosts_of(static_cast<NetworkIndex>(i), next.networks[i]);
    has_changed_[i] = false;
  }
}

dataplane::WordTable<dataplane::InsideHost> InsideHosts::hosts_of(NetworkIndex network,
                                                                  const dataplane::Network& state) const {
  std::vector<dataplane::WordTable<dataplane::InsideHost>::Entry> hosts;
  for (const auto& [address, neighbor] : neighbors_[network].all()) {
    const PortIndex* port = state.macs.find(neighbor.mac.as_word());
    const bool is_known = !neighbor.mac.is_zero() && port != nullptr;
    const bool is_silent = neighbor.state == Neighbors::State::Silent;
    hosts.push_back({address.raw(), is_known ? dataplane::InsideHost{neighbor.mac, *port}
                                             : dataplane::InsideHost{.is_silent = is_silent}});
  }
  return dataplane::WordTable<dataplane::InsideHost>(hosts);
}

// Requests go to the network; a frame that has waited goes through the pipeline, which finds its VM by now.
void InsideHosts::send(Injector& injector) {
  for (std::size_t i = 0; i < neighbors_.size(); ++i) {
    for (const FrameBytes& frame : neighbors_[i].take_output()) {
      const auto* ethernet = net::view<net::EthernetHeader>(frame);
      if (ethernet != nullptr && ethernet->ether_type() == net::EtherType::Arp)
        transmit(frame, static_cast<NetworkIndex>(i), injector);
      else
        injector.look_up_again(frame);
    }
    for (const Neighbors::Unreachable& unreachable : neighbors_[i].take_unreachable())
      injector.return_unreachable(unreachable, dataplane::DropReason::HostUnresolved);
  }
}

// To the port where the destination lives, else to all of the network's; to those that are up.
void InsideHosts::transmit(std::span<const std::byte> frame, NetworkIndex network, Injector& injector) {
  const dataplane::ForwardingState& state = states_.current();
  const auto& ethernet = *net::view<net::EthernetHeader>(frame);
  const PortIndex* known = state.networks[network].macs.find(ethernet.destination.as_word());
  for (const PortIndex port : state.networks[network].ports) {
    if (!state.ports[port].up || (known != nullptr && *known != port)) continue;
    injector.transmit(frame, port);
    ++requests_;
  }
}

}  // namespace vmnat::control
