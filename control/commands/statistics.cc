// SPDX-License-Identifier: Apache-2.0
#include "control/commands/statistics.h"

namespace vmnat::control {
namespace {

using Named = std::map<std::string, std::uint64_t>;

std::uint64_t punted_for(const Workers& workers, std::size_t reason) {
  std::uint64_t sum = 0;
  for (const dataplane::Worker& worker : workers) sum += worker.counters().punts[reason].get();
  return sum;
}

void add_frames(const Workers& workers, std::size_t ports, Named& named) {
  PortTotals sum;
  for (std::size_t port = 0; port < ports; ++port) {
    const PortTotals totals = port_totals(workers, static_cast<PortIndex>(port));
    sum.rx_packets += totals.rx_packets;
    sum.tx_packets += totals.tx_packets;
    for (std::size_t i = 0; i < sum.drops.size(); ++i) sum.drops[i] += totals.drops[i];
  }
  named["received"] = sum.rx_packets;
  named["transmitted"] = sum.tx_packets;
  for (std::size_t i = 0; i < sum.drops.size(); ++i)
    named["drop." + std::string(dataplane::kDropNames[i])] = sum.drops[i];
  for (std::size_t i = 0; i < dataplane::kPuntReasonCount; ++i) {
    named["punt." + std::string(dataplane::kPuntNames[i])] = punted_for(workers, i);
    named["punted"] += punted_for(workers, i);
  }
  for (const dataplane::Worker& worker : workers) {
    const dataplane::WorkerCounters& counters = worker.counters();
    named["flood_copies"] += counters.flood_copies.get();
    named["injected"] += counters.injected.get();
    named["generated"] += counters.icmp_errors_sent.get() + counters.tcp_resets_sent.get() +
                          counters.fragments_made.get() + counters.segments_made.get();
    named["icmp_errors.sent"] += counters.icmp_errors_sent.get();
    named["icmp_errors.suppressed"] += counters.icmp_errors_suppressed.get();
    named["tcp_resets.sent"] += counters.tcp_resets_sent.get();
    named["tcp_resets.suppressed"] += counters.tcp_resets_suppressed.get();
    named["fragments.seen"] += counters.fragments_seen.get();
    named["fragments.held"] += counters.fragments_held.get();
    named["fragments.made"] += counters.fragments_made.get();
    named["segments.made"] += counters.segments_made.get();
    named["segments.merged"] += counters.segments_merged.get();
    named["receive.deferred"] += counters.receive_deferred.get();
    named["handoff.frames"] += counters.handoff_frames.get();
    named["learn.missed"] += counters.learn_missed.get();
    named["host.flows_displaced"] += counters.host_flows_displaced.get();
  }
}

void add_devices(Devices& devices, Named& named) {
  const DeviceCounts counts = devices.counts();
  named["rings.deferred"] = counts.rings_deferred;
  named["vhost.refused_connections"] = counts.refused_connections;
  named["vhost.refused_messages"] = counts.refused_messages;
  named["kernel.missed"] = counts.frames_missed;
}

void add_sessions(const Workers& workers, unsigned external_addresses, Named& named) {
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

// Announcements of our addresses are requests, too.
void add_neighbors(const UplinkSide& uplink, Named& named) {
  const Neighbors::Counts& counts = uplink.neighbors().counts();
  named["neighbors.requests"] = counts.requests + uplink.own_addresses().announcements();
  named["neighbors.replies"] = counts.replies;
  named["neighbors.resolved"] = counts.resolved;
  named["neighbors.failed"] = counts.failed;
  named["neighbors.waiting_dropped"] = counts.waiting_dropped;
  named["neighbors.moved"] = counts.moved;
  named["neighbors.claims_refuted"] = counts.claims_refuted;
  named["neighbors.conflicts"] = uplink.own_addresses().conflicts();
}

// VMs that inbound flows are for. A request is counted once for every port that it goes to.
void add_inside_neighbors(const InsideHosts& inside, Named& named) {
  named["neighbors.inside.requests"] = inside.requests();
  named["neighbors.inside.conflicts"] = inside.gateway_claims();
  for (const Neighbors& network : inside.all()) {
    named["neighbors.inside.replies"] += network.counts().replies;
    named["neighbors.inside.resolved"] += network.counts().resolved;
    named["neighbors.inside.failed"] += network.counts().failed;
    named["neighbors.inside.waiting_dropped"] += network.counts().waiting_dropped;
    named["neighbors.inside.moved"] += network.counts().moved;
    named["neighbors.inside.claims_refuted"] += network.counts().claims_refuted;
  }
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
  named["uplink.dhcp.sent"] = counters.sent;
  named["uplink.dhcp.received"] = counters.received;
  named["uplink.dhcp.ignored"] = counters.ignored;
  named["uplink.dhcp.sessions_ended"] = uplink.sessions_ended();
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
  if (const auto& client = at.uplink.client(); at.uplink.is_waiting_for_lease())
    notes.push_back(client->problem().empty()
                        ? "the uplink has no address yet: nothing is forwarded until a DHCP server gives one"
                        : client->problem() + "; nothing is forwarded");
  else if (const std::string problem = resolver_problem(at.config, at.uplink.resolvers_of_lease());
           !problem.empty())
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

std::map<std::string, std::uint64_t> all_counters(const CommandContext& at) {
  Named named;
  add_frames(at.workers, at.ports.size(), named);
  add_devices(at.devices, named);
  add_sessions(at.workers, at.states.current().external_addresses->size(), named);
  add_neighbors(at.uplink, named);
  add_inside_neighbors(at.inside, named);
  add_dhcp(at.dhcp, named);
  if (at.uplink.client()) add_uplink_client(*at.uplink.client(), named);
  named["sessions.departed"] = at.nat.sessions_ended();
  named["inject.dropped"] = at.injector.dropped();
  named["states.published"] = at.states.current().generation;
  named["states.owner_tables"] = at.tables.owner_tables_made();
  named["states.mac_tables"] = at.tables.mac_tables_made();
  return named;
}

}  // namespace vmnat::control
