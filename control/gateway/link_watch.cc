// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/link_watch.h"

#include <algorithm>
#include <spdlog/spdlog.h>
#include <utility>

namespace vmnat::control {

LinkWatch::Seen LinkWatch::seen_of(const Device& device) {
  if (!device.is_up()) return {};
  return {.is_up = true, .offloads = device.offloads(), .transmit_queues = device.open_transmit_queues()};
}

std::vector<LinkWatch::Change> LinkWatch::look(SteadyTime now) {
  std::vector<Change> changes;
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    const Seen before = std::exchange(seen_[i], seen_of(devices_[i]));
    if (seen_[i] == before) continue;
    has_changed_ = true;
    const bool is_up = seen_[i].is_up;
    if (is_up == before.is_up) continue;
    changes.push_back({static_cast<PortIndex>(i), is_up});
    log_.log(spdlog::level::info, {"link", ports_[i].name}, now, "port {} is {}", ports_[i].name,
             is_up ? "up" : "down");
  }
  return changes;
}

void LinkWatch::tell_who_waits() const {
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    const config::VmPort* port = ports_[i].config;
    if (!seen_[i].is_up && port != nullptr && !port->vhost_user.empty())
      spdlog::info("port {} waits for a VM on {}", port->name, port->vhost_user);
  }
}

void LinkWatch::fill(dataplane::ForwardingState& next, std::size_t worker_count) {
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    next.ports[i].up = seen_[i].is_up;
    next.ports[i].offloads = seen_[i].offloads;
    next.ports[i].tx_queues =
        static_cast<std::uint8_t>(std::min<std::size_t>(seen_[i].transmit_queues, worker_count));
  }
  has_changed_ = false;
}

}  // namespace vmnat::control
