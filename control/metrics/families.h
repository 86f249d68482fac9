// SPDX-License-Identifier: Apache-2.0
// The metrics, a row each: what `/metrics` calls it, its labels, and what it says in a line. docs/metrics.md is made
// from these rows, and a test holds it equal; another one compares them with what a running vmnatd shows.
//
// A row with a counter is that counter of `vmnatctl counters`. "drop.*" stands for all that begin so, and the rest of
// the name is the label's value: drop.ttl_expired is vmnat_drop_total{reason="ttl_expired"}.
#pragma once

#include <span>
#include <string_view>

namespace vmnat::metrics {

enum class Kind { Counter, Gauge, Info };

struct Family {
  std::string_view name;
  Kind kind;
  std::string_view labels;   // of each sample, "network, port"
  std::string_view counter;  // of `vmnatctl counters`; empty: the collector's
  std::string_view help;
};

// clang-format off
inline constexpr Family kDaemonFamilies[] = {
  {"vmnat_build_info", Kind::Info, "version, dpdk, compiler", "", "What is running. Always 1."},
  {"vmnat_start_time_seconds", Kind::Gauge, "", "", "When vmnatd started, in seconds since 1970; changes() of it counts restarts."},
  {"vmnat_former_sessions", Kind::Gauge, "outcome", "", "Sessions of the process before, by what became of them at start."},
  {"vmnat_reloads_total", Kind::Counter, "result", "", "Reloads of the configuration file that were applied, changed nothing, or were refused."},
  {"vmnat_edits_total", Kind::Counter, "result", "", "Commands that edit the configuration in effect, likewise."},
  {"vmnat_last_reload_successful", Kind::Gauge, "", "", "Whether the last reload was not refused; 1 before the first one."},
  {"vmnat_notes", Kind::Gauge, "", "", "Sentences of `vmnatctl status` about what vmnatd runs without."},
  {"vmnat_memory_bytes", Kind::Gauge, "", "", "Memory for packet buffers and tables, dataplane.memory."},
  {"vmnat_hugepages", Kind::Gauge, "", "", "Whether packet buffers lie in hugepages."},
  {"vmnat_packet_buffers", Kind::Gauge, "pool", "", "Packet buffers of a pool; there is one for each NUMA node that has workers."},
  {"vmnat_packet_buffers_in_use", Kind::Gauge, "pool", "", "Of these, those that hold a frame or lie ready in a receive queue."},
  {"vmnat_control_cpu_seconds_total", Kind::Counter, "", "", "CPU time of the control thread."},
  {"vmnat_control_waiting_frames", Kind::Gauge, "queue", "", "Frames that wait for control: for a MAC address on the uplink's link or on a network, or in a worker's ring (punt, uplink_punt), and reports of MACs (learn); frames on their way back (inject)."},
  {"vmnat_http_requests_total", Kind::Counter, "", "", "HTTP requests."},
  {"vmnat_http_seconds_total", Kind::Counter, "", "", "Control's CPU time that answers to HTTP requests have taken."},
  {"vmnat_http_connections", Kind::Gauge, "", "", "HTTP connections that are open."},
  {"vmnat_states_published_total", Kind::Counter, "", "states.published", "Forwarding states that control has published to the workers."},
  {"vmnat_states_owner_tables_total", Kind::Counter, "", "states.owner_tables", "Tables of who owns which address that were made for them."},
  {"vmnat_states_mac_tables_total", Kind::Counter, "", "states.mac_tables", "Tables of learned MAC addresses that were made for them."},
};

inline constexpr Family kFrameFamilies[] = {
  {"vmnat_received_total", Kind::Counter, "", "received", "Frames received on all ports."},
  {"vmnat_transmitted_total", Kind::Counter, "", "transmitted", "Frames transmitted on all ports."},
  {"vmnat_drop_total", Kind::Counter, "reason", "drop.*", "Frames dropped, by reason."},
  {"vmnat_punt_total", Kind::Counter, "reason", "punt.*", "Frames that workers gave to control, by reason."},
  {"vmnat_flood_copies_total", Kind::Counter, "", "flood_copies", "Frames made by copying for all but the first port of a flood."},
  {"vmnat_injected_total", Kind::Counter, "", "injected", "Frames that control gave to workers."},
  {"vmnat_inject_dropped_total", Kind::Counter, "", "inject.dropped", "Frames of control that found no buffer, or the worker's ring full."},
  {"vmnat_generated_total", Kind::Counter, "", "generated", "Frames that workers made themselves: ICMP errors, TCP resets, fragments and segments."},
  {"vmnat_icmp_errors_sent_total", Kind::Counter, "", "icmp_errors.sent", "ICMP errors sent about refused frames."},
  {"vmnat_icmp_errors_suppressed_total", Kind::Counter, "", "icmp_errors.suppressed", "ICMP errors not sent: over the rate limit, or no buffer."},
  {"vmnat_tcp_resets_sent_total", Kind::Counter, "", "tcp_resets.sent", "TCP resets sent about segments of no connection."},
  {"vmnat_tcp_resets_suppressed_total", Kind::Counter, "", "tcp_resets.suppressed", "TCP resets not sent, for the same reasons."},
  {"vmnat_fragments_seen_total", Kind::Counter, "", "fragments.seen", "Fragments of TCP, UDP and ICMP to be routed."},
  {"vmnat_fragments_held", Kind::Gauge, "", "fragments.held", "Fragments that wait for the first one of their datagram."},
  {"vmnat_limits_held", Kind::Gauge, "", "limits.held", "Frames that wait for a limit of what their port gets, or for an uplink's device that is full."},
  {"vmnat_fragments_made_total", Kind::Counter, "", "fragments.made", "Pieces of frames above the egress MTU, beyond each one's first."},
  {"vmnat_segments_made_total", Kind::Counter, "", "segments.made", "Segments of TCP super-frames, beyond each one's first."},
  {"vmnat_segments_merged_total", Kind::Counter, "", "segments.merged", "TCP segments that became part of another's frame."},
  {"vmnat_receive_deferred_total", Kind::Counter, "", "receive.deferred", "Polls of a queue put off: its frames had made more work than their share."},
  {"vmnat_backlogged_total", Kind::Counter, "", "backlogged", "Frames that found an uplink's device full, and waited for it in turns of VMs' ports."},
  {"vmnat_handoff_frames_total", Kind::Counter, "", "handoff.frames", "Frames that crossed from one worker to another."},
  {"vmnat_learn_missed_total", Kind::Counter, "", "learn.missed", "Reports of MAC addresses that control did not get: over the port's budget, or ring full."},
  {"vmnat_rules_flows_displaced_total", Kind::Counter, "", "rules.flows_displaced", "Flows between VMs, accepted by rules, that were forgotten before their time, for want of room."},
  {"vmnat_host_flows_displaced_total", Kind::Counter, "", "host.flows_displaced", "Flows of this host that were forgotten before their time, for want of room."},
  {"vmnat_capture_observers", Kind::Gauge, "", "capture.observers", "Captures and traces that are under way."},
  {"vmnat_events_missed_total", Kind::Counter, "", "events.missed", "Events of sessions and blocks that listeners (sessions --watch, the log of translations) had no room for."},
  {"vmnat_translations_written_total", Kind::Counter, "", "translations.written", "Lines of the log of translations."},
  {"vmnat_translations_lost_total", Kind::Counter, "", "translations.lost", "Events that came too fast for the log of translations, and are not in it."},
  {"vmnat_translations_unwritten_total", Kind::Counter, "", "translations.unwritten", "Lines of the log of translations that a file, syslog or collector did not take."},
  {"vmnat_capture_missed_total", Kind::Counter, "", "capture.missed", "Frames that captures and traces wanted, and had no room for."},
  {"vmnat_rings_deferred_total", Kind::Counter, "", "rings.deferred", "Calls of workers that a budget ended with work left in a VM's rings, for the next call."},
  {"vmnat_vhost_refused_connections_total", Kind::Counter, "", "vhost.refused_connections", "Connections to a vhost-user socket that serves a VM already."},
  {"vmnat_vhost_refused_messages_total", Kind::Counter, "", "vhost.refused_messages", "Messages of VMMs that made no sense or could do harm."},
  {"vmnat_kernel_missed_total", Kind::Counter, "", "kernel.missed", "Frames that arrived at a kernel interface and found its socket's ring or queue full."},
  {"vmnat_trunk_missed_total", Kind::Counter, "", "trunk.missed", "Frames of a VLAN of a DPDK device that found as many waiting for their port as may."},
};

inline constexpr Family kPortFamilies[] = {
  {"vmnat_port_info", Kind::Info, "network, port, kind", "", "The VMs' ports and the uplink, by their kind. Always 1."},
  {"vmnat_port_up", Kind::Gauge, "network, port", "", "Whether a VM, or the link, is there."},
  {"vmnat_port_received_frames_total", Kind::Counter, "network, port", "", "Frames received on the port: what its VM has sent."},
  {"vmnat_port_received_bytes_total", Kind::Counter, "network, port", "", "Bytes of these frames."},
  {"vmnat_port_transmitted_frames_total", Kind::Counter, "network, port", "", "Frames transmitted on the port: what its VM was sent."},
  {"vmnat_port_transmitted_bytes_total", Kind::Counter, "network, port", "", "Bytes of these frames."},
  {"vmnat_port_refused_frames_total", Kind::Counter, "network, port", "", "Frames for the port that its device or guest did not take: its ring was full, or its buffers too short. They count as drops of the port that they came from."},
  {"vmnat_port_limited_out_total", Kind::Counter, "network, port", "", "Times that what the port's VM sends had to wait for a limit, in its own ring."},
  {"vmnat_port_limited_in_frames_total", Kind::Counter, "network, port", "", "Frames for the port that had to wait for a limit of what it gets."},
  {"vmnat_port_limited_dropped_frames_total", Kind::Counter, "network, port", "", "Frames for the port that found no room to wait for a limit. They count as drops of the port that they came from."},
  {"vmnat_port_drops_total", Kind::Counter, "network, port, reason", "", "Frames from the port that were dropped, by reason; reasons that there were."},
  {"vmnat_port_rings_deferred_total", Kind::Counter, "network, port", "", "Calls that a budget ended with work left in the VM's rings; vhost-user ports."},
  {"vmnat_port_interrupts_total", Kind::Counter, "network, port", "", "Interrupts of the VM; vhost-user ports with split virtqueues."},
  {"vmnat_port_refused_connections_total", Kind::Counter, "network, port", "", "Connections to the port's socket while it served a VM."},
  {"vmnat_port_refused_messages_total", Kind::Counter, "network, port", "", "Messages of the port's VMM that made no sense or could do harm."},
  {"vmnat_network_ports", Kind::Gauge, "network", "", "Ports of the network."},
};

inline constexpr Family kNatFamilies[] = {
  {"vmnat_sessions_active", Kind::Gauge, "", "sessions.active", "Sessions that there are."},
  {"vmnat_sessions_capacity", Kind::Gauge, "", "", "Sessions that fit, conntrack.sessions."},
  {"vmnat_sessions", Kind::Gauge, "network, protocol, state", "", "Sessions by network, protocol and state, as the last count found them. A scrape begins a count once the last one is 10 s old."},
  {"vmnat_sessions_count_age_seconds", Kind::Gauge, "", "", "How long ago that count ended; absent before the first."},
  {"vmnat_sessions_created_total", Kind::Counter, "", "sessions.created", "Sessions that were opened."},
  {"vmnat_sessions_restored_total", Kind::Counter, "", "sessions.restored", "Sessions of an earlier process that went on."},
  {"vmnat_sessions_expired_total", Kind::Counter, "", "sessions.expired", "Sessions that timed out."},
  {"vmnat_sessions_flushed_total", Kind::Counter, "", "sessions.flushed", "Sessions that were ended by a flush."},
  {"vmnat_sessions_early_dropped_total", Kind::Counter, "", "sessions.early_dropped", "Half-open sessions that were ended for a new one."},
  {"vmnat_sessions_lost_total", Kind::Counter, "", "sessions.lost", "Sessions of an earlier process that could not go on."},
  {"vmnat_sessions_departed_total", Kind::Counter, "", "sessions.departed", "Sessions that ended because a change of the configuration took their address or forward, or their network went to another uplink."},
  {"vmnat_sessions_disbelieved_total", Kind::Counter, "", "sessions.disbelieved", "TCP segments of remotes that were not believed."},
  {"vmnat_sessions_overloaded_total", Kind::Counter, "", "sessions.overloaded", "Sessions that were opened on a port with others."},
  {"vmnat_mappings_active", Kind::Gauge, "", "mappings.active", "Mappings of internal to external endpoints, where mapping is endpoint-independent."},
  {"vmnat_external_ports", Kind::Gauge, "address", "", "Ports of an external address that may be given out, for each protocol; 0 while it drains."},
  {"vmnat_external_ports_used", Kind::Gauge, "address, protocol", "", "Ports of an external address in use; of ICMP, identifiers."},
  {"vmnat_external_sessions", Kind::Gauge, "address", "", "Sessions that have the external address."},
  {"vmnat_external_remote_sessions_max", Kind::Gauge, "address", "", "The most sessions that one remote endpoint has with an external address, as the last count found them: the remote that ports run out for first. Of more than 65536 remote endpoints, those that were met first."},
  {"vmnat_forwards", Kind::Gauge, "network", "", "External ports that lead to VMs."},
  {"vmnat_uplink_up", Kind::Gauge, "uplink", "", "1: the uplink can be used; 0: it is dead."},
  {"vmnat_uplink_switches_total", Kind::Counter, "uplink", "", "How often networks have come to the uplink from another one."},
  {"vmnat_refused_sessions_total", Kind::Counter, "worker", "", "Sessions that were refused for want of a port or by a limit; vmnat_drop_total has the frames by reason."},
};

inline constexpr Family kDhcpFamilies[] = {
  {"vmnat_dhcp_leases", Kind::Gauge, "network", "", "Leases that are bound."},
  {"vmnat_dhcp_pool_addresses", Kind::Gauge, "network", "", "Addresses of the network's ranges, those that are reserved included."},
  {"vmnat_dhcp_received_total", Kind::Counter, "type", "dhcp.received.*", "DHCP messages received, by type."},
  {"vmnat_dhcp_sent_total", Kind::Counter, "type", "dhcp.sent.*", "DHCP messages sent, by type."},
  {"vmnat_dhcp_ignored_total", Kind::Counter, "reason", "dhcp.ignored.*", "DHCP messages not answered, by reason."},
  {"vmnat_dhcp_concluded_total", Kind::Counter, "", "dhcp.concluded", "Releases and declines that took effect: they have no answer."},
  {"vmnat_dhcp_options_left_out_total", Kind::Counter, "", "dhcp.options_left_out", "Options that did not fit into what the client takes."},
  {"vmnat_dhcp_checks_asked_total", Kind::Counter, "", "dhcp.checks.asked", "Addresses asked about by ARP before they were offered."},
  {"vmnat_dhcp_checks_in_use_total", Kind::Counter, "", "dhcp.checks.in_use", "Addresses that were not offered, because somebody claimed them."},
  {"vmnat_dhcp_checks_claims_ignored_total", Kind::Counter, "", "dhcp.checks.claims_ignored", "Claims of ports that had claimed enough, or of addresses that are held."},
  {"vmnat_dhcp_checks_skipped_total", Kind::Counter, "", "dhcp.checks.skipped", "Addresses offered without a question, for want of budget."},
  {"vmnat_dhcp_journal_failures_total", Kind::Counter, "", "dhcp.journal.failures", "Writes of leases to the disk that failed."},
  {"vmnat_dhcp_journal_waiting", Kind::Gauge, "", "dhcp.journal.waiting", "Changes of leases that wait for a write that succeeds."},
  {"vmnat_uplink_dhcp_sent_total", Kind::Counter, "", "uplink.dhcp.sent", "Messages of the uplink's DHCP client; absent unless uplink.address is dhcp."},
  {"vmnat_uplink_dhcp_received_total", Kind::Counter, "", "uplink.dhcp.received", "Messages for it, likewise."},
  {"vmnat_uplink_dhcp_ignored_total", Kind::Counter, "", "uplink.dhcp.ignored", "Messages for it that it did not heed, likewise."},
  {"vmnat_uplink_dhcp_sessions_ended_total", Kind::Counter, "", "uplink.dhcp.sessions_ended", "Sessions that ended with an address of the uplink, likewise."},
};

inline constexpr Family kNeighborFamilies[] = {
  {"vmnat_neighbors_requests_total", Kind::Counter, "", "neighbors.requests", "ARP requests sent on the uplink, announcements of our addresses among them."},
  {"vmnat_neighbors_replies_total", Kind::Counter, "", "neighbors.replies", "ARP replies heard there."},
  {"vmnat_neighbors_resolved_total", Kind::Counter, "", "neighbors.resolved", "Neighbours that became known."},
  {"vmnat_neighbors_failed_total", Kind::Counter, "", "neighbors.failed", "Neighbours that did not answer."},
  {"vmnat_neighbors_waiting_dropped_total", Kind::Counter, "", "neighbors.waiting_dropped", "Frames that waited for a neighbour in vain."},
  {"vmnat_neighbors_moved_total", Kind::Counter, "", "neighbors.moved", "Neighbours that moved to another MAC address."},
  {"vmnat_neighbors_claims_refuted_total", Kind::Counter, "", "neighbors.claims_refuted", "Claims to have moved that the neighbour itself refuted."},
  {"vmnat_neighbors_conflicts_total", Kind::Counter, "", "neighbors.conflicts", "Claims of others to have an address of ours."},
  {"vmnat_neighbors_inside_requests_total", Kind::Counter, "", "neighbors.inside.requests", "ARP requests sent to VMs, counted once for every port."},
  {"vmnat_neighbors_inside_replies_total", Kind::Counter, "", "neighbors.inside.replies", "ARP replies of VMs."},
  {"vmnat_neighbors_inside_resolved_total", Kind::Counter, "", "neighbors.inside.resolved", "VMs that became known."},
  {"vmnat_neighbors_inside_failed_total", Kind::Counter, "", "neighbors.inside.failed", "VMs that did not answer."},
  {"vmnat_neighbors_inside_waiting_dropped_total", Kind::Counter, "", "neighbors.inside.waiting_dropped", "Frames that waited for a VM in vain."},
  {"vmnat_neighbors_inside_moved_total", Kind::Counter, "", "neighbors.inside.moved", "VMs that moved to another MAC address."},
  {"vmnat_neighbors_inside_claims_refuted_total", Kind::Counter, "", "neighbors.inside.claims_refuted", "Claims to have moved that the VM itself refuted."},
  {"vmnat_neighbors_inside_conflicts_total", Kind::Counter, "", "neighbors.inside.conflicts", "Claims of VMs to have the gateway's address."},
};

inline constexpr Family kWorkerFamilies[] = {
  {"vmnat_worker_info", Kind::Info, "worker, cpu", "", "The packet workers and their CPUs. Always 1."},
  {"vmnat_worker_busy_seconds_total", Kind::Counter, "worker", "", "Time of polls that found frames: its rate is the busy ratio."},
  {"vmnat_worker_awake_seconds_total", Kind::Counter, "worker", "", "Time of all polls; the rest it slept."},
  {"vmnat_worker_busy_cycles_total", Kind::Counter, "worker", "", "Cycles of polls that found frames: by frames received, cycles per packet."},
  {"vmnat_worker_polls_total", Kind::Counter, "worker", "", "Polls."},
  {"vmnat_worker_received_frames_total", Kind::Counter, "worker", "", "Frames that the worker received on ports."},
  {"vmnat_worker_handoff_frames_total", Kind::Counter, "worker", "", "Frames that the worker handed to others: by frames received, the handoff ratio."},
  {"vmnat_worker_handoff_waiting_frames", Kind::Gauge, "worker", "", "Frames of other workers that wait in rings for this one."},
  {"vmnat_worker_sessions", Kind::Gauge, "worker", "", "Sessions in the worker's table."},
};
// clang-format on

struct Section {
  std::string_view title;
  std::span<const Family> families;
};
inline constexpr Section kSections[] = {
    {"The daemon", kDaemonFamilies},    {"Frames", kFrameFamilies}, {"Ports and networks", kPortFamilies},
    {"Sessions and NAT", kNatFamilies}, {"DHCP", kDhcpFamilies},    {"Neighbours", kNeighborFamilies},
    {"Workers", kWorkerFamilies}};

// Of `vmnatctl counters`, those that are sums of a metric's samples.
struct Sum {
  std::string_view counter, family;
};
inline constexpr Sum kSums[] = {{"punted", "vmnat_punt_total"}, {"ports.used", "vmnat_external_ports_used"}};

// The row of that name; a name that has none does not compile.
consteval const Family& family(std::string_view name) {
  for (const Section& section : kSections)
    for (const Family& row : section.families)
      if (row.name == name) return row;
  throw "no metric has that name";
}

}  // namespace vmnat::metrics
