// SPDX-License-Identifier: Apache-2.0
// Constructors of what a worker owns. Control calls them before the worker runs; no other code of dataplane/
// allocates.
#include <algorithm>
#include <bit>

#include "dataplane/worker/worker.h"

namespace vmnat::dataplane {
namespace {

FragmentTable::Settings with_places_for_all(FragmentTable::Settings settings) {
  const auto fewest = static_cast<unsigned>(2 * settings.ports);
  settings.datagrams = std::max(settings.datagrams, fewest);
  settings.frames = std::max(settings.frames, fewest);
  return settings;
}

}  // namespace

Transmitter::Transmitter(WorkerIndex worker, std::span<const BurstPort> devices, WorkerCounters& counters,
                         Rings& rings)
    : worker_(worker),
      counters_(counters),
      rings_(rings),
      buffers_(std::make_unique<Buffer[]>(devices.size())),
      dirty_(std::make_unique<PortIndex[]>(devices.size())),
      was_handed_over_(std::make_unique<bool[]>(rings.handoff_to.size())) {
  for (std::size_t i = 0; i < devices.size(); ++i) buffers_[i].device = devices[i];
}

FragmentTable::FragmentTable(Settings settings, WorkerCounters& counters)
    : settings_(with_places_for_all(settings)),
      datagram_places_(settings_.datagrams, settings_.ports),
      frame_places_(settings_.frames, settings_.ports),
      counters_(counters),
      hash_(settings_.seed),
      bucket_mask_(std::bit_ceil(settings_.datagrams) - 1),
      buckets_(std::make_unique<Index[]>(bucket_mask_ + 1)),
      datagrams_(std::make_unique<Datagram[]>(settings_.datagrams)),
      held_(std::make_unique<Held[]>(settings_.frames)),
      shares_(std::make_unique<Share[]>(settings_.ports)) {
  std::fill_n(buckets_.get(), bucket_mask_ + 1, kNone);
  for (unsigned i = settings_.datagrams; i-- > 0; free_datagram_ = static_cast<Index>(i))
    datagrams_[i].next = free_datagram_;
  for (unsigned i = settings_.frames; i-- > 0; free_held_ = static_cast<Index>(i)) held_[i].next = free_held_;
}

PuntBudgets::PuntBudgets(std::size_t port_count) {
  const PuntShares shares = PuntShares::among(port_count);
  ports_.assign(port_count, {.dhcp = tick_budget(shares.dhcp),
                             .segment_dhcp = tick_budget(shares.segment_dhcp),
                             .arp = tick_budget(shares.arp),
                             .unresolved = tick_budget(shares.unresolved),
                             .learned = tick_budget(kLearnedMacs)});
  ports_[kUplinkPort].dhcp = tick_budget(kUplinkDhcpPunts);
  ports_[kUplinkPort].arp = tick_budget(kAskedArpPunts);
}

Worker::Worker(Settings settings, std::unique_ptr<conntrack::Conntrack> conntrack,
               const conntrack::ExternalPorts& external_ports)
    : settings_(std::move(settings)),
      conntrack_(std::move(conntrack)),
      counters_(settings_.devices.size()),
      transmitter_(settings_.index, settings_.devices, counters_, settings_.rings),
      fragments_({.seed = settings_.seed, .ports = settings_.devices.size()}, counters_),
      datagram_numbers_(settings_.seed, settings_.index, settings_.worker_count),
      punt_budgets_(settings_.devices.size()),
      port_icmp_error_budgets_(settings_.devices.size()),
      port_flood_budgets_(settings_.devices.size()),
      shares_(settings_.receive_queues.size()),
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
               .punt_budgets = punt_budgets_,
               .port_icmp_error_budgets = port_icmp_error_budgets_,
               .port_flood_budgets = port_flood_budgets_},
      expiry_pace_(conntrack_->capacity(), settings_.tsc_hz),
      rest_(settings_.receive_queues, settings_.doorbell, settings_.tsc_hz) {}

}  // namespace vmnat::dataplane
