// SPDX-License-Identifier: Apache-2.0
#include "control/metrics/scrape.h"

#include <bit>
#include <ctime>
#include <rte_cycles.h>
#include <rte_version.h>

#include "control/commands/statistics.h"
#include "control/version.h"
#include "dhcp/address_pool.h"
#include "net/protocol.h"

namespace vmnat::metrics {
namespace {

using control::PortPlan;
using dataplane::NetworkIndex;

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}
double seconds_of_cycles(std::uint64_t cycles) {
  return static_cast<double>(cycles) / static_cast<double>(rte_get_tsc_hz());
}

double thread_cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Ports that may be given out. Addresses that have the same share one object.
std::uint64_t port_count(const conntrack::AllowedPorts& ports) {
  std::uint64_t count = 0;
  for (unsigned block = 0; block < conntrack::kPortBlocks; ++block)
    count += static_cast<unsigned>(std::popcount(ports.in(block)));
  return count;
}

std::uint64_t addresses_in_pool(const config::Network& network) {
  std::vector<dhcp::AddressRange> ranges;
  for (const config::AddressRange& range : network.dhcp->ranges) ranges.push_back({range.first, range.last});
  return dhcp::AddressPool(ranges, network.address).size();
}

std::uint64_t received_by(const dataplane::Worker& worker, std::size_t ports) {
  std::uint64_t frames = 0;
  for (std::size_t port = 0; port < ports; ++port) frames += worker.counters().ports[port].rx_packets.get();
  return frames;
}

void write_results(ExpositionWriter& out, const Family& family, const ChangeCounts::Results& results) {
  out.begin(family);
  out.sample(label("result", "applied"), results.applied);
  out.sample(label("result", "unchanged"), results.unchanged);
  out.sample(label("result", "refused"), results.refused);
}

std::size_t waiting_at(const control::Uplinks& uplinks) {
  std::size_t waiting = 0;
  for (std::size_t i = 0; i < uplinks.size(); ++i) waiting += uplinks[i].neighbors().waiting();
  return waiting;
}

}  // namespace

const std::array<Metrics::Scrape::Step, 10> Metrics::Scrape::kSteps{
    &Scrape::daemon,     &Scrape::queues, &Scrape::counters, &Scrape::ports,    &Scrape::port_traffic,
    &Scrape::port_drops, &Scrape::nat,    &Scrape::census,   &Scrape::networks, &Scrape::workers};

admin::Pull Metrics::Scrape::next(std::string& piece) {
  ExpositionWriter out(piece, form_);
  out_ = &out;
  (this->*kSteps[step_++])();
  if (step_ < kSteps.size()) return admin::Pull::Item;
  out.end();
  return admin::Pull::End;
}

void Metrics::Scrape::daemon() {
  const auto gauge = [this](const Family& family, auto value) {
    out_->begin(family);
    out_->sample({}, value);
  };
  std::string labels = label("version", control::kVersion);
  add_label(labels, "dpdk", rte_version());
  add_label(labels, "compiler", __VERSION__);
  out_->begin(family("vmnat_build_info"));
  out_->sample(labels, 1);
  gauge(family("vmnat_start_time_seconds"), seconds(all_.started_.time_since_epoch()));
  out_->begin(family("vmnat_former_sessions"));
  if (const auto& revivals = at_.session_keeper.revivals())
    for (std::size_t i = 0; i < revivals->size(); ++i)
      out_->sample(label("outcome", conntrack::kRevivalNames[i]), (*revivals)[i]);
  write_results(*out_, family("vmnat_reloads_total"), all_.changes_.reloads);
  write_results(*out_, family("vmnat_edits_total"), all_.changes_.edits);
  gauge(family("vmnat_last_reload_successful"), all_.changes_.was_last_reload_refused ? 0 : 1);
  gauge(family("vmnat_notes"), control::notes(at_).size());
  gauge(family("vmnat_memory_bytes"), at_.config.dataplane.memory.bytes);
  gauge(family("vmnat_hugepages"), at_.eal.uses_hugepages);
  packet_buffers();
  gauge(family("vmnat_control_cpu_seconds_total"), thread_cpu_seconds());
  gauge(family("vmnat_http_requests_total"), all_.server_.requests());
  gauge(family("vmnat_http_seconds_total"), seconds(all_.server_.time_spent()));
  gauge(family("vmnat_http_connections"), all_.server_.connections());
}

void Metrics::Scrape::packet_buffers() {
  const auto uses = all_.pools_.use();
  out_->begin(family("vmnat_packet_buffers"));
  for (const auto& use : uses) out_->sample(label("pool", use.pool), use.buffers);
  out_->begin(family("vmnat_packet_buffers_in_use"));
  for (const auto& use : uses) out_->sample(label("pool", use.pool), use.in_use);
}

void Metrics::Scrape::queues() {
  std::uint64_t punt = 0, uplink_punt = 0, learn = 0, inject = 0, inside = 0;
  for (const control::ControlRings& rings : all_.rings_.of_control()) {
    punt += rings.punt.count();
    uplink_punt += rings.uplink_punt.count();
    learn += rings.learn.count();
    inject += rings.inject.count();
  }
  for (const control::Neighbors& neighbors : at_.inside.all()) inside += neighbors.waiting();
  out_->begin(family("vmnat_control_waiting_frames"));
  out_->sample(label("queue", "punt"), punt);
  out_->sample(label("queue", "uplink_punt"), uplink_punt);
  out_->sample(label("queue", "learn"), learn);
  out_->sample(label("queue", "inject"), inject);
  out_->sample(label("queue", "uplink_neighbors"), waiting_at(at_.uplinks));
  out_->sample(label("queue", "inside_neighbors"), inside);
}

// In the order of the rows, whatever a counter's name is.
void Metrics::Scrape::counters() {
  control::Counts counts = control::keep_counts(at_);
  for (const Section& section : kSections)
    for (const Family& family : section.families)
      if (!family.counter.empty()) add_from_counters(family, counts.named);
  port_totals_ = std::move(counts.ports);
}

void Metrics::Scrape::add_from_counters(const Family& family,
                                        const std::map<std::string, std::uint64_t>& counters) {
  if (!family.counter.ends_with(".*")) {
    const auto found = counters.find(std::string{family.counter});
    if (found == counters.end()) return;
    out_->begin(family);
    return out_->sample({}, found->second);
  }
  const std::string prefix{family.counter.substr(0, family.counter.size() - 1)};
  out_->begin(family);
  for (auto at = counters.lower_bound(prefix); at != counters.end() && at->first.starts_with(prefix); ++at)
    out_->sample(label(family.labels, at->first.substr(prefix.size())), at->second);
}

Metrics::Scrape::PortSample Metrics::Scrape::sample_of(PortIndex index) {
  static const control::PortTotals kNothing;  // of a port that has come since the counters' step
  const PortPlan& plan = at_.ports[index];
  control::Device& device = at_.devices[index];
  PortSample sample{.labels = label("network", control::network_name(at_, plan)),
                    .totals = index < port_totals_.size() ? &port_totals_[index] : &kNothing,
                    .kind = &device.kind(),
                    .is_up = at_.states.current().ports[index].up,
                    .is_vhost = device.vhost() != nullptr};
  add_label(sample.labels, "port", plan.name);
  if (!sample.is_vhost) return sample;
  sample.interrupts = device.vhost()->port().interrupts();
  return sample;
}

void Metrics::Scrape::ports() {
  for (std::size_t i = 0; i < at_.ports.size(); ++i)
    if (at_.ports[i].exists) ports_.push_back(sample_of(static_cast<PortIndex>(i)));
  out_->begin(family("vmnat_port_info"));
  for (const PortSample& port : ports_) {
    std::string labels = port.labels;
    add_label(labels, "kind", *port.kind);
    out_->sample(labels, 1);
  }
  for (PortSample& port : ports_) port.kind = nullptr;  // good for this step
  each_port(family("vmnat_port_up"), [](const PortSample& port) { return port.is_up; });
}

template <typename Value>
void Metrics::Scrape::each_port(const Family& family, Value value) {
  out_->begin(family);
  for (const PortSample& port : ports_) out_->sample(port.labels, std::uint64_t{value(port)});
}
template <typename Value>
void Metrics::Scrape::each_vhost_port(const Family& family, Value value) {
  out_->begin(family);
  for (const PortSample& port : ports_)
    if (port.is_vhost) out_->sample(port.labels, std::uint64_t{value(port)});
}

void Metrics::Scrape::port_traffic() {
  using Port = PortSample;
  each_port(family("vmnat_port_received_frames_total"),
            [](const Port& port) { return port.totals->rx_packets; });
  each_port(family("vmnat_port_received_bytes_total"),
            [](const Port& port) { return port.totals->rx_bytes; });
  each_port(family("vmnat_port_transmitted_frames_total"),
            [](const Port& port) { return port.totals->tx_packets; });
  each_port(family("vmnat_port_transmitted_bytes_total"),
            [](const Port& port) { return port.totals->tx_bytes; });
  each_port(family("vmnat_port_refused_frames_total"),
            [](const Port& port) { return port.totals->tx_refused; });
  each_port(family("vmnat_port_limited_out_total"),
            [](const Port& port) { return port.totals->limited_out; });
  each_port(family("vmnat_port_limited_in_frames_total"),
            [](const Port& port) { return port.totals->limited_in; });
  each_port(family("vmnat_port_limited_dropped_frames_total"),
            [](const Port& port) { return port.totals->limited_dropped; });
}

void Metrics::Scrape::port_drops() {
  using Port = PortSample;
  out_->begin(family("vmnat_port_drops_total"));
  for (const PortSample& port : ports_)
    for (std::size_t i = 0; i < dataplane::kDropReasonCount; ++i) {
      if (port.totals->drops[i] == 0) continue;
      std::string labels = port.labels;
      add_label(labels, "reason", dataplane::kDropNames[i]);
      out_->sample(labels, port.totals->drops[i]);
    }
  each_vhost_port(family("vmnat_port_rings_deferred_total"),
                  [](const Port& port) { return port.totals->rings_deferred; });
  each_vhost_port(family("vmnat_port_interrupts_total"), [](const Port& port) { return port.interrupts; });
  each_vhost_port(family("vmnat_port_refused_connections_total"),
                  [](const Port& port) { return port.totals->refused_connections; });
  each_vhost_port(family("vmnat_port_refused_messages_total"),
                  [](const Port& port) { return port.totals->refused_messages; });
  ports_.clear();
}

// Addresses that are there; one that DHCP gives, while it does.
template <typename Value>
void Metrics::Scrape::each_external(const Family& family, Value value) {
  const conntrack::ExternalAddresses& external = *at_.states.current().external_addresses;
  out_->begin(family);
  for (unsigned i = 0; i < external.size(); ++i)
    if (external.ports(i) != nullptr && !external.address(i).is_unspecified())
      value(label("address", net::to_string(external.address(i))), static_cast<conntrack::ExternalIndex>(i));
}

void Metrics::Scrape::nat() {
  const conntrack::ExternalAddresses& external = *at_.states.current().external_addresses;
  out_->begin(family("vmnat_sessions_capacity"));
  out_->sample({}, at_.config.conntrack.sessions);
  const conntrack::AllowedPorts* counted = nullptr;
  std::uint64_t count = 0;
  each_external(family("vmnat_external_ports"),
                [&](const std::string& labels, conntrack::ExternalIndex index) {
                  if (external.ports(index) != counted) count = port_count(*external.ports(index));
                  counted = external.ports(index);
                  out_->sample(labels, count);
                });
  each_external(family("vmnat_external_ports_used"),
                [&](const std::string& labels, conntrack::ExternalIndex index) {
                  constexpr std::array<const char*, conntrack::kPortSpaces> kNames{"tcp", "udp", "icmp"};
                  for (unsigned space = 0; space < conntrack::kPortSpaces; ++space) {
                    std::string with_protocol = labels;
                    add_label(with_protocol, "protocol", kNames[space]);
                    std::uint64_t used = 0;
                    for (const dataplane::Worker& worker : at_.workers)
                      used += worker.conntrack().ports_used(index, static_cast<conntrack::PortSpace>(space));
                    out_->sample(with_protocol, used);
                  }
                });
  each_external(family("vmnat_external_sessions"),
                [&](const std::string& labels, conntrack::ExternalIndex index) {
                  out_->sample(labels, control::sessions_at(at_.workers, index));
                });
}

void Metrics::Scrape::census() {
  const auto& last = all_.census_.last();
  const SessionCensus::Count none{};
  const SessionCensus::Count& count = last ? *last : none;
  out_->begin(family("vmnat_sessions"));
  for (const auto& [kind, sessions] : count.sessions) {
    const auto& networks = at_.numbered.networks;
    if (kind.policy >= networks.size() || networks[kind.policy].name.empty()) continue;
    std::string labels = label("network", networks[kind.policy].name);
    add_label(labels, "protocol", net::to_string(kind.protocol));
    add_label(labels, "state", conntrack::to_string(kind.state));
    out_->sample(labels, sessions);
  }
  out_->begin(family("vmnat_external_remote_sessions_max"));
  for (const auto& [external, most] : count.most_of_a_remote)
    out_->sample(label("address", net::to_string(external)), most);
  out_->begin(family("vmnat_sessions_count_age_seconds"));
  if (last) out_->sample({}, seconds(std::chrono::steady_clock::now() - last->ended));
}

template <typename Value>
void Metrics::Scrape::each_network(const Family& family, Value value) {
  out_->begin(family);
  for (std::size_t i = 0; i < at_.numbered.networks.size(); ++i)
    if (const config::Network& network = at_.numbered.networks[i]; !network.name.empty())
      value(label("network", network.name), network, static_cast<NetworkIndex>(i));
}

void Metrics::Scrape::networks() {
  using Labels = const std::string&;
  using Network = const config::Network&;
  each_network(family("vmnat_network_ports"), [this](Labels labels, Network network, NetworkIndex) {
    out_->sample(labels, network.ports.size());
  });
  each_network(family("vmnat_dhcp_leases"), [this](Labels labels, Network network, NetworkIndex index) {
    if (network.dhcp) out_->sample(labels, at_.dhcp.lease_count(index));
  });
  each_network(family("vmnat_dhcp_pool_addresses"), [this](Labels labels, Network network, NetworkIndex) {
    if (network.dhcp) out_->sample(labels, addresses_in_pool(network));
  });
  std::vector<std::uint64_t> forwards(at_.numbered.networks.size());
  for (const control::ForwardPlan& forward : at_.uplinks.forwards())
    forwards[forward.network] += forward.ports;
  each_network(family("vmnat_forwards"), [&](Labels labels, Network network, NetworkIndex index) {
    if (network.forward == config::Forward::Nat) out_->sample(labels, forwards[index]);
  });
  uplinks();
}

void Metrics::Scrape::uplinks() {
  out_->begin(family("vmnat_uplink_up"));
  for (std::size_t i = 0; i < at_.uplinks.size(); ++i)
    out_->sample(label("uplink", at_.uplinks[i].name()), at_.uplinks.is_dead(i) ? 0 : 1);
  out_->begin(family("vmnat_uplink_switches_total"));
  for (std::size_t i = 0; i < at_.uplinks.size(); ++i)
    out_->sample(label("uplink", at_.uplinks[i].name()), at_.uplinks.switches(i));
}

template <typename Value>
void Metrics::Scrape::each_worker(const Family& family, Value value) {
  out_->begin(family);
  for (std::size_t i = 0; i < at_.workers.count(); ++i)
    out_->sample(label("worker", std::to_string(i)), value(at_.workers[i]));
}

void Metrics::Scrape::workers() {
  using Worker = dataplane::Worker;
  out_->begin(family("vmnat_worker_info"));
  for (std::size_t i = 0; i < at_.workers.count(); ++i) {
    std::string labels = label("worker", std::to_string(i));
    add_label(labels, "cpu", std::to_string(at_.eal.worker_cpus[i]));
    out_->sample(labels, 1);
  }
  each_worker(family("vmnat_worker_busy_seconds_total"),
              [](const Worker& worker) { return seconds_of_cycles(worker.counters().busy_cycles.get()); });
  each_worker(family("vmnat_worker_awake_seconds_total"),
              [](const Worker& worker) { return seconds_of_cycles(worker.counters().total_cycles.get()); });
  each_worker(family("vmnat_worker_busy_cycles_total"),
              [](const Worker& worker) { return worker.counters().busy_cycles.get(); });
  each_worker(family("vmnat_worker_polls_total"), [](const Worker& worker) { return worker.polls(); });
  each_worker(family("vmnat_worker_received_frames_total"),
              [this](const Worker& worker) { return received_by(worker, at_.ports.size()); });
  each_worker(family("vmnat_worker_handoff_frames_total"),
              [](const Worker& worker) { return worker.counters().handoff_frames.get(); });
  out_->begin(family("vmnat_worker_handoff_waiting_frames"));
  for (std::size_t i = 0; i < at_.workers.count(); ++i)
    out_->sample(label("worker", std::to_string(i)), all_.rings_.waiting_for(static_cast<WorkerIndex>(i)));
  each_worker(family("vmnat_worker_sessions"),
              [](const Worker& worker) { return worker.conntrack().statistics().active; });
  each_worker(family("vmnat_refused_sessions_total"),
              [](const Worker& worker) { return worker.refused_remotes().copied().latest.count; });
}

}  // namespace vmnat::metrics
