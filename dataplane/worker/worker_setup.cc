// SPDX-License-Identifier: Apache-2.0
// Constructors of what a worker owns. Control calls them before the worker runs; no other code of dataplane/
// allocates.
#include <algorithm>
#include <bit>

#include "dataplane/worker/worker.h"

namespace vmnat::dataplane {
namespace {

FragmentTable::Settings with_places_for_all(FragmentTable::Settings settings) {
  settings.most_ports = std::max(settings.most_ports, settings.ports);
  const auto fewest = static_cast<unsigned>(2 * settings.most_ports);
  settings.datagrams = std::max(settings.datagrams, fewest);
  settings.frames = std::max(settings.frames, fewest);
  return settings;
}

}  // namespace

Transmitter::Transmitter(WorkerIndex worker, const Setup& setup, WorkerCounters& counters, Rings& rings)
    : worker_(worker),
      counters_(counters),
      rings_(rings),
      buffers_(setup.most_ports),
      dirty_(std::make_unique<PortIndex[]>(setup.most_ports)),
      held_(setup.most_ports),
      holding_(std::make_unique<PortIndex[]>(setup.most_ports)),
      turns_(setup.most_ports),
      backlog_patience_(setup.tsc_hz / 10),
      was_handed_over_(std::make_unique<bool[]>(rings.handoff_to.size())) {
  for (PortIndex uplink = 0; uplink < setup.uplinks; ++uplink)
    backlogs_.emplace_back(setup.most_ports, uplink);
}

FragmentTable::FragmentTable(Settings settings, WorkerCounters& counters)
    : settings_(with_places_for_all(settings)),
      datagram_places_(settings_.datagrams),
      frame_places_(settings_.frames),
      counters_(counters),
      hash_(settings_.seed),
      bucket_mask_(std::bit_ceil(settings_.datagrams) - 1),
      buckets_(std::make_unique<Index[]>(bucket_mask_ + 1)),
      datagrams_(std::make_unique<Datagram[]>(settings_.datagrams)),
      held_(std::make_unique<Held[]>(settings_.frames)),
      shares_(std::make_unique<Share[]>(settings_.most_ports)) {
  share_among(settings_.ports);
  std::fill_n(buckets_.get(), bucket_mask_ + 1, kNone);
  for (unsigned i = settings_.datagrams; i-- > 0; free_datagram_ = static_cast<Index>(i))
    datagrams_[i].next = free_datagram_;
  for (unsigned i = settings_.frames; i-- > 0; free_held_ = static_cast<Index>(i)) held_[i].next = free_held_;
}

HostFlows::HostFlows() : entries_(std::size_t{kBuckets} * kWays) {}

PeerFlows::PeerFlows() : flows_(std::size_t{kRegions} * kBuckets * kWays) {}

PuntBudgets::PuntBudgets(std::size_t most_ports, std::size_t ports) {
  constexpr TokenBucket kUnset = tick_budget(0);
  ports_.assign(most_ports, {.dhcp = kUnset,
                             .segment_dhcp = kUnset,
                             .arp = kUnset,
                             .unresolved = kUnset,
                             .learned = tick_budget(kLearnedMacs)});
  share_among(ports);
}

Worker::Worker(Settings settings, std::unique_ptr<conntrack::Conntrack> conntrack,
               const conntrack::ExternalPorts& external_ports)
    : settings_(std::move(settings)),
      conntrack_(std::move(conntrack)),
      counters_(kMostPorts),
      transmitter_(settings_.index,
                   {.most_ports = kMostPorts, .uplinks = settings_.uplink_count, .tsc_hz = settings_.tsc_hz},
                   counters_, settings_.rings),
      limit_gate_(kMostPorts),
      fragments_({.seed = settings_.seed, .most_ports = kMostPorts, .uplinks = settings_.uplink_count},
                 counters_),
      datagram_numbers_(settings_.seed, settings_.index, settings_.worker_count),
      punt_budgets_(kMostPorts, 1),
      port_icmp_error_budgets_(kMostPorts),
      port_flood_budgets_(kMostPorts),
      context_{.worker = settings_.index,
               .worker_count = settings_.worker_count,
               .conntrack = *conntrack_,
               .external_ports = external_ports,
               .counters = counters_,
               .rings = settings_.rings,
               .transmitter = transmitter_,
               .fragments = fragments_,
               .datagram_numbers = datagram_numbers_,
               .refused_remotes = refused_remotes_,
               .host_flows = host_flows_,
               .served_flows = served_flows_,
               .peer_flows = peer_flows_,
               .punt_budgets = punt_budgets_,
               .port_icmp_error_budgets = port_icmp_error_budgets_,
               .port_flood_budgets = port_flood_budgets_},
      expiry_pace_(conntrack_->capacity(), settings_.tsc_hz),
      rest_({}, settings_.doorbell, settings_.tsc_hz) {}

}  // namespace vmnat::dataplane
