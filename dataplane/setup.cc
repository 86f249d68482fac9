// SPDX-License-Identifier: Apache-2.0
// Construction of what a worker owns: done by control before the worker runs, and the only code of this
// folder that allocates.
#include "dataplane/worker.h"

namespace vmnat::dataplane {

Transmitter::Transmitter(WorkerIndex worker, std::span<const Device> devices, WorkerCounters& counters,
                         Rings& rings)
    : worker_(worker),
      counters_(counters),
      rings_(rings),
      buffers_(std::make_unique<Buffer[]>(devices.size())),
      dirty_(std::make_unique<PortIndex[]>(devices.size())) {
  for (std::size_t i = 0; i < devices.size(); ++i) buffers_[i].device = devices[i];
}

Worker::Worker(Settings settings, std::unique_ptr<conntrack::Conntrack> conntrack,
               const conntrack::ExternalPorts& external_ports)
    : settings_(std::move(settings)),
      conntrack_(std::move(conntrack)),
      counters_(settings_.devices.size()),
      transmitter_(settings_.index, settings_.devices, counters_, settings_.rings),
      context_{.worker = settings_.index,
               .worker_count = settings_.worker_count,
               .conntrack = *conntrack_,
               .external_ports = external_ports,
               .counters = counters_,
               .rings = settings_.rings,
               .transmitter = transmitter_} {}

}  // namespace vmnat::dataplane
