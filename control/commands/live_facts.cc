// SPDX-License-Identifier: Apache-2.0
#include "control/commands/live_facts.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "control/config/words.h"

namespace vmnat::control {
namespace {

using dataplane::DropReason;
using dataplane::index_of;

doctor::Attachment attachment_of(const Device& device) {
  if (device.vhost() == nullptr) return doctor::Attachment::Nobody;
  switch (device.vhost()->attachment()) {
    case VhostSocket::Attachment::Connected:
      return doctor::Attachment::Connected;
    case VhostSocket::Attachment::NoMemory:
      return doctor::Attachment::NoMemory;
    case VhostSocket::Attachment::Attached:
      return doctor::Attachment::Attached;
    case VhostSocket::Attachment::Nobody:
      break;
  }
  return doctor::Attachment::Nobody;
}

doctor::PortCounts counts_of(const PortTotals& totals) {
  const auto drops = [&](DropReason reason) { return totals.drops[index_of(reason)]; };
  return {.received = totals.rx_packets,
          .taken = totals.tx_packets,
          .untaken = totals.tx_refused,
          .spoofed = drops(DropReason::SpoofedMac) + drops(DropReason::SpoofedAddress),
          .over_budget = drops(DropReason::PuntBudget) + drops(DropReason::FloodBudget),
          .refused_connections = totals.refused_connections,
          .refused_messages = totals.refused_messages};
}

std::uint64_t refused_sessions(const std::vector<PortTotals>& ports) {
  std::uint64_t refused = 0;
  for (const PortTotals& totals : ports)
    for (const auto reason : {DropReason::NoPort, DropReason::SessionTableFull, DropReason::SessionLimit,
                              DropReason::SessionRate})
      refused += totals.drops[index_of(reason)];
  return refused;
}

bool is_vms(const PortPlan& port) {
  return port.exists && port.config != nullptr;
}

std::vector<std::string> feature_names(std::uint64_t features) {
  std::vector<std::string> names;
  for (const auto& [feature, name] : config::words_of(config::VirtioFeature{}))
    if ((features >> static_cast<unsigned>(feature) & 1) != 0) names.emplace_back(name);
  return names;
}

doctor::LivePort port_facts(const CommandContext& at, std::size_t index) {
  const PortPlan& plan = at.ports[index];
  doctor::LivePort facts{.name = plan.name, .socket = plan.config->vhost_user};
  at.doctor_watch.fill(index, facts);
  if (const VhostSocket* const vhost = at.devices[index].vhost())
    facts.features = feature_names(vhost->port().features());
  return facts;
}

std::uint64_t addresses_of(const config::Network& network) {
  std::uint64_t addresses = 0;
  for (const config::AddressRange& range : network.dhcp->ranges)
    addresses += range.size() - (range.contains(network.address.address) ? 1 : 0);
  return addresses;
}

std::vector<doctor::LivePool> pools(const CommandContext& at) {
  std::vector<doctor::LivePool> pools;
  for (std::size_t i = 0; i < at.numbered.networks.size(); ++i)
    if (const config::Network& network = at.numbered.networks[i]; network.dhcp)
      pools.push_back({.network = network.name,
                       .addresses = addresses_of(network),
                       .leased = at.dhcp.lease_count(static_cast<NetworkIndex>(i))});
  return pools;
}

doctor::LiveUplink uplink_facts(const CommandContext& at) {
  constexpr std::chrono::seconds kUntilAnswered{3};
  const dataplane::ForwardingState& state = at.states.current();
  const UplinkSide& first = at.uplinks[0];
  const bool is_young = std::chrono::steady_clock::now() - at.started < kUntilAnswered;
  const bool has_answered = !state.uplinks[0].gateway_mac.is_zero() && !first.is_router_silent();
  doctor::LiveUplink facts{.is_up = state.ports[0].up,
                           .waits_for_lease = first.is_waiting_for_lease(),
                           .gateway = state.uplinks[0].gateway,
                           .is_gateway_known = has_answered || is_young,
                           .recent_conflicts = at.doctor_watch.recent().conflicts};
  if (facts.waits_for_lease) facts.lease_problem = first.client()->problem();
  return facts;
}

std::vector<doctor::DeadUplink> dead_uplinks(const CommandContext& at) {
  std::vector<doctor::DeadUplink> dead;
  for (std::size_t i = 0; i < at.uplinks.size(); ++i)
    if (at.uplinks.is_dead(i)) dead.push_back({at.uplinks[i].name(), at.uplinks.trouble_text(i)});
  return dead;
}

std::uint64_t conflicts(const Uplinks& uplinks) {
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < uplinks.size(); ++i) all += uplinks[i].own_addresses().conflicts();
  return all;
}

std::vector<net::Ipv4Addr> external_addresses(const CommandContext& at) {
  std::vector<net::Ipv4Addr> addresses;
  for (const config::Network& network : at.numbered.networks)
    for (const net::Ipv4Addr address : at.uplinks.external_addresses(network)) addresses.push_back(address);
  for (const dataplane::AddressPair& pair : at.uplinks.static_nat()) addresses.push_back(pair.external);
  return addresses;
}

}  // namespace

void look_for_doctor(const CommandContext& at, const Counts& counts, SteadyTime now, doctor::Watch& watch) {
  std::vector<doctor::PortSample> ports(at.ports.size());
  for (std::size_t i = 0; i < ports.size(); ++i)
    if (is_vms(at.ports[i]))
      ports[i] = {.name = at.ports[i].name,
                  .is_up = at.states.current().ports[i].up,
                  .attachment = attachment_of(at.devices[i]),
                  .counts = counts_of(counts.ports[i])};
  watch.look(std::move(ports),
             {.conflicts = conflicts(at.uplinks), .refused_sessions = refused_sessions(counts.ports)}, now,
             std::chrono::system_clock::now());
}

doctor::LiveFacts live_facts(const CommandContext& at) {
  doctor::LiveFacts facts{.worker_cpus = at.eal.worker_cpus,
                          .uses_hugepages = at.eal.uses_hugepages,
                          .pools = pools(at),
                          .uplink = uplink_facts(at),
                          .dead_uplinks = dead_uplinks(at),
                          .external_addresses = external_addresses(at),
                          .networks_without_dns = at.dns.unserved(),
                          .recent_refusals = at.doctor_watch.recent().refused_sessions,
                          .clock_step = at.doctor_watch.clock_step()};
  for (std::size_t i = 0; i < at.ports.size(); ++i)
    if (is_vms(at.ports[i])) facts.ports.push_back(port_facts(at, i));
  if (at.dhcp.journal_waiting() > 0)
    facts.lease_problem = fmt::format("{}", fmt::join(at.dhcp.notes(), "; "));
  if (!at.uplinks.is_waiting_for_lease())
    facts.resolver_problem = resolver_problem(at.config, at.uplinks.resolvers_of_leases());
  return facts;
}

}  // namespace vmnat::control
