// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/polling.h"

#include <algorithm>

namespace vmnat::control {

void Polling::fill(dataplane::ForwardingState& next) {
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    Device* const device = ports_[i].exists ? devices_.find(i) : nullptr;
    next.ports[i].device = device == nullptr ? dataplane::BurstPort{} : device->for_workers();
    next.ports[i].is_spread = device != nullptr && device->queues() > 1 && plans_.size() > 1;
    next.ports[i].up = next.ports[i].up && device != nullptr;
  }
  std::vector<PollPlan> plans = plan(next);
  next.polled.resize(plans.size());
  for (std::size_t worker = 0; worker < plans.size(); ++worker)
    if (next.polled[worker] == nullptr || plans[worker] != plans_[worker])
      next.polled[worker] = std::make_shared<dataplane::PollSet>(plans[worker].queues, plans[worker].sharers);
  plans_ = std::move(plans);
}

std::vector<PollPlan> Polling::plan(const dataplane::ForwardingState& next) const {
  const auto existing = static_cast<unsigned>(std::ranges::count(ports_, true, &PortPlan::exists));
  const auto uplinks = static_cast<unsigned>(std::ranges::count(ports_, true, &PortPlan::is_uplink));
  std::vector<PollPlan> plans(
      plans_.size(), PollPlan{.queues = {}, .sharers = {.ports = existing, .guests = 0, .uplinks = uplinks}});
  for (std::size_t i = 0; i < ports_.size(); ++i)
    if (ports_[i].exists) add_port(static_cast<PortIndex>(i), next.ports[i], plans);
  return plans;
}

// Its sessions are its owner's, or all workers' if it is spread.
void Polling::add_port(PortIndex port, const dataplane::Port& state, std::vector<PollPlan>& plans) const {
  if (!ports_[port].is_uplink)
    for (std::size_t worker = 0; worker < plans.size(); ++worker)
      plans[worker].sharers.guests += state.is_spread || ports_[port].owner == worker ? 1 : 0;
  const Device* const device = devices_.find(port);
  if (device == nullptr || (device->vhost() != nullptr && !state.up)) return;
  for (std::uint16_t queue = 0; queue < device->queues(); ++queue) {
    const WorkerIndex worker = polling_worker(ports_[port], queue, static_cast<unsigned>(plans.size()));
    plans[worker].queues.push_back(
        {.device = state.device, .queue_id = queue, .port = port, .pool = pool_of_(worker)});
  }
}

}  // namespace vmnat::control
