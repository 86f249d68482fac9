// SPDX-License-Identifier: Apache-2.0
#include "control/commands/statistics.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace vmnat::control {
namespace {

using Named = std::map<std::string, std::uint64_t>;

// What is, and not what has been: it is not carried from one process to the next. `sessions.restored` and the states
// are about this process alone.
constexpr std::array<std::string_view, 10> kOfThisProcess{
    "limits.held", "fragments.held",       "sessions.active",  "sessions.restored",   "mappings.active",
    "ports.used",  "dhcp.journal.waiting", "states.published", "states.owner_tables", "states.mac_tables"};

std::uint64_t punted_for(const Workers& workers, std::size_t reason) {
  std::uint64_t sum = 0;
  for (const dataplane::Worker& worker : workers) sum += worker.counters().punts[reason].get();
  return sum;
}

// In this order: what has become of frames, then how they came. While they are on their way, no more of them have ended
// than there are.
std::vector<PortTotals> add_frames(const Workers& workers, std::size_t ports, Named& named) {
  for (std::size_t i = 0; i < dataplane::kPuntReasonCount; ++i) {
    const std::uint64_t punted = punted_for(workers, i);
    named["punt." + std::string(dataplane::kPuntNames[i])] = punted;
    named["punted"] += punted;
  }
  for (const dataplane::Worker& worker : workers) {
    named["fragments.held"] += worker.counters().fragments_held.get();
    named["limits.held"] += worker.counters().limits_held.get();
    named["segments.merged"] += worker.counters().segments_merged.get();
  }
  std::vector<PortTotals> by_port = port_totals(workers, ports);
  PortTotals sum;
  for (const PortTotals& port : by_port) sum += port;
  named["received"] = sum.rx_packets;
  named["transmitted"] = sum.tx_packets;
  for (std::size_t i = 0; i < sum.drops.size(); ++i)
    named["drop." + std::string(dataplane::kDropNames[i])] = sum.drops[i];
  return by_port;
}

// What control itself has counted, of VMs' ports.
void add_refusals(const CommandContext& at, std::vector<PortTotals>& by_port) {
  for (std::size_t i = 0; i < by_port.size(); ++i) {
    if (at.ports[i].config == nullptr) continue;
    by_port[i].ignored = at.dhcp.ignored_from(static_cast<PortIndex>(i));
    const Device* const device = at.devices.find(static_cast<PortIndex>(i));
    const VhostSocket* const socket = device == nullptr ? nullptr : device->vhost();
    if (socket == nullptr) continue;
    by_port[i].rings_deferred = socket->port().deferrals();
    by_port[i].refused_connections = socket->refused_connections();
    by_port[i].refused_messages = socket->refused_messages();
  }
}

void add_work(const Workers& workers, Named& named) {
  for (const dataplane::Worker& worker : workers) {
    const dataplane::WorkerCounters& counters = worker.counters();
    const std::uint64_t errors = counters.icmp_errors_sent.get(), resets = counters.tcp_resets_sent.get();
    const std::uint64_t fragments = counters.fragments_made.get(), segments = counters.segments_made.get();
    named["flood_copies"] += counters.flood_copies.get();
    named["injected"] += counters.injected.get();
    named["generated"] += errors + resets + fragments + segments;
    named["icmp_errors.sent"] += errors;
    named["icmp_errors.suppressed"] += counters.icmp_errors_suppressed.get();
    named["tcp_resets.sent"] += resets;
    named["tcp_resets.suppressed"] += counters.tcp_resets_suppressed.get();
    named["fragments.seen"] += counters.fragments_seen.get();
    named["fragments.made"] += fragments;
    named["segments.made"] += segments;
    named["receive.deferred"] += counters.receive_deferred.get();
    named["backlogged"] += counters.backlogged.get();
    named["handoff.frames"] += counters.handoff_frames.get();
    named["learn.missed"] += counters.learn_missed.get();
    named["host.flows_displaced"] += counters.host_flows_displaced.get();
    named["rules.flows_displaced"] += counters.peer_flows_displaced.get();
  }
}

void add_devices(Devices& devices, Named& named) {
  const DeviceCounts counts = devices.counts();
  named["rings.deferred"] = counts.rings_deferred;
  named["vhost.refused_connections"] = counts.refused_connections;
  named["vhost.refused_messages"] = counts.refused_messages;
  named["kernel.missed"] = counts.frames_missed;
  named["trunk.missed"] = counts.trunk_missed;
}

// Frames that observers wanted, and had no room for.
void add_observers(const Observers& observers, Named& named) {
  named["capture.missed"] = observers.missed();
  named["capture.observers"] = observers.count();
}

// Of the events that workers tell of.
void add_translations(const TranslationLog& log, const Listeners& listeners, Named& named) {
  const TranslationLog::Counts counts = log.counts();
  named["translations.written"] = counts.written;
  named["translations.lost"] = counts.lost;
  named["translations.unwritten"] = counts.unwritten;
  named["events.missed"] = listeners.missed();
}

void add_sessions(const Workers& workers, unsigned external_addresses, Named& named) {
  named["sessions.lost"] = 0;  // of processes before
  for (const dataplane::Worker& worker : workers) {
    const conntrack::Statistics statistics = worker.conntrack().statistics();
    named["sessions.active"] += statistics.active;
    named["sessions.created"] += statistics.created;
    named["sessions.restored"] += statistics.restored;
    named["sessions.expired"] += statistics.expired;
    named["sessions.flushed"] += statistics.erased;
    named["sessions.early_dropped"] += statistics.early_dropped;
    named["sessions.disbelieved"] += statistics.disbelieved;
    named["sessions.overloaded"] += statistics.overloaded;
    named["mappings.active"] += statistics.mappings;
    for (unsigned external = 0; external < external_addresses; ++external)
      for (unsigned space = 0; space < conntrack::kPortSpaces; ++space)
        named["ports.used"] += worker.conntrack().ports_used(static_cast<conntrack::ExternalIndex>(external),
                                                             static_cast<conntrack::PortSpace>(space));
  }
}

// Of one link, besides what we ask there.
void add_hosts(const Neighbors::Counts& counts, const std::string& prefix, Named& named) {
  named[prefix + "replies"] += counts.replies;
  named[prefix + "resolved"] += counts.resolved;
  named[prefix + "failed"] += counts.failed;
  named[prefix + "waiting_dropped"] += counts.waiting_dropped;
  named[prefix + "moved"] += counts.moved;
  named[prefix + "claims_refuted"] += counts.claims_refuted;
}

// Announcements of our addresses are requests, too.
void add_neighbors(const UplinkSide& uplink, Named& named) {
  const Neighbors::Counts& counts = uplink.neighbors().counts();
  named["neighbors.requests"] += counts.requests + uplink.own_addresses().announcements();
  named["neighbors.conflicts"] += uplink.own_addresses().conflicts();
  add_hosts(counts, "neighbors.", named);
}

// VMs that inbound flows are for. A request is counted once for every port that it goes to.
void add_inside_neighbors(const InsideHosts& inside, Named& named) {
  named["neighbors.inside.requests"] = inside.requests();
  named["neighbors.inside.conflicts"] = inside.gateway_claims();
  for (const Neighbors& network : inside.all()) add_hosts(network.counts(), "neighbors.inside.", named);
}

void add_dhcp(const DhcpService& dhcp, Named& named) {
  const dhcp::Counters counters = dhcp.counters();
  for (std::size_t type = 0; type < counters.received.size(); ++type) {
    const std::string name(type == 0 ? "bootp" : dhcp::to_string(static_cast<dhcp::MessageType>(type)));
    named["dhcp.received." + name] = counters.received[type];
    named["dhcp.sent." + name] = counters.sent[type];
  }
  for (std::size_t i = 0; i < dhcp::kIgnoredReasons; ++i)
    named["dhcp.ignored." + std::string(dhcp::kIgnoredTexts[i].name)] = counters.ignored[i];
  named["dhcp.concluded"] =
      counters.concluded;  // releases and declines that took effect: they have no answer
  named["dhcp.options_left_out"] = counters.options_left_out;
  named["dhcp.checks.asked"] = dhcp.checks().asked();
  named["dhcp.checks.in_use"] = dhcp.claims_heeded();
  named["dhcp.checks.claims_ignored"] = dhcp.claims_ignored();
  named["dhcp.checks.skipped"] = dhcp.checks().skipped();
  named["dhcp.journal.failures"] = dhcp.journal_failures();
  named["dhcp.journal.waiting"] = dhcp.journal_waiting();
}

void add_uplink_client(const UplinkClient& uplink, Named& named) {
  const dhcp::ClientCounters& counters = uplink.client().counters();
  named["uplink.dhcp.sent"] += counters.sent;
  named["uplink.dhcp.received"] += counters.received;
  named["uplink.dhcp.ignored"] += counters.ignored;
  named["uplink.dhcp.sessions_ended"] += uplink.sessions_ended();
}

void add_uplink(const UplinkSide& uplink, Named& named) {
  add_neighbors(uplink, named);
  if (uplink.client()) add_uplink_client(*uplink.client(), named);
}

bool is_total(std::string_view name) {
  return std::ranges::find(kOfThisProcess, name) == kOfThisProcess.end();
}

// A counter that this version does not have is left out.
void carry_on(const Totals& carried, Named& named) {
  for (const auto& [name, count] : carried.counters)
    if (const auto found = named.find(name); found != named.end() && is_total(name)) found->second += count;
}

void keep(const Counts& counts, const CommandContext& at) {
  Totals totals;
  for (const auto& [name, count] : counts.named)
    if (count != 0 && is_total(name)) totals.counters.emplace(name, count);
  put_ports(at.ports, counts.ports, totals);
  at.session_keeper.set_totals(totals);
}

std::string note_of_waiting(const CommandContext& at, std::size_t number) {
  const std::string& problem = at.uplinks[number].client()->problem();
  if (!problem.empty()) return problem + "; nothing is forwarded";
  return (at.uplinks.size() == 1 ? "the uplink" : "uplink " + at.uplinks[number].name()) +
         " has no address yet: nothing is forwarded until a DHCP server gives one";
}

}  // namespace

std::string network_name(const CommandContext& at, const PortPlan& port) {
  if (port.network != dataplane::kNoNetwork) return at.numbered.networks[port.network].name;
  return port.exists ? "uplink" : "";
}

std::vector<std::string> notes(const CommandContext& at) {
  std::vector<std::string> notes = at.eal.notes;
  for (const std::string& note : at.configuration.notes()) notes.push_back(note);
  for (const std::string& note : at.dhcp.notes()) notes.push_back(note);
  for (const std::string& note : at.dns.notes(at.config)) notes.push_back(note);
  for (const std::string& note : at.translations.notes()) notes.push_back(note);
  for (std::size_t i = 0; i < at.uplinks.size(); ++i)
    if (at.uplinks[i].is_waiting_for_lease()) notes.push_back(note_of_waiting(at, i));
  if (const std::string problem = resolver_problem(at.config, at.uplinks.resolvers_of_leases());
      !problem.empty() && !at.uplinks.is_waiting_for_lease())
    notes.push_back(problem);
  return notes;
}

std::uint64_t active_sessions(const Workers& workers) {
  std::uint64_t active = 0;
  for (const dataplane::Worker& worker : workers) active += worker.conntrack().statistics().active;
  return active;
}

std::uint64_t sessions_at(const Workers& workers, conntrack::ExternalIndex external) {
  std::uint64_t sessions = 0;
  for (const dataplane::Worker& worker : workers) sessions += worker.conntrack().sessions_at(external);
  return sessions;
}

Counts keep_counts(const CommandContext& at) {
  Named named;
  std::vector<PortTotals> by_port = add_frames(at.workers, at.ports.size(), named);
  add_work(at.workers, named);
  add_refusals(at, by_port);
  add_devices(at.devices, named);
  add_observers(at.observers, named);
  add_translations(at.translations, at.listeners, named);
  add_sessions(at.workers, at.states.current().external_addresses->size(), named);
  for (std::size_t i = 0; i < at.uplinks.size(); ++i) add_uplink(at.uplinks[i], named);
  add_inside_neighbors(at.inside, named);
  add_dhcp(at.dhcp, named);
  named["sessions.departed"] = at.nat.sessions_ended();
  named["inject.dropped"] = at.injector.dropped();
  named["states.published"] = at.states.current().generation;
  named["states.owner_tables"] = at.tables.owner_tables_made();
  named["states.mac_tables"] = at.tables.mac_tables_made();
  carry_on(at.session_keeper.carried(), named);
  Counts counts{std::move(named), at.port_accounts.told(std::move(by_port))};
  keep(counts, at);
  return counts;
}

}  // namespace vmnat::control
