// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/link_watch.h"

#include <algorithm>
#include <spdlog/spdlog.h>
#include <utility>

namespace vmnat::control {

LinkWatch::Seen LinkWatch::seen_of(const Device& device) {
  if (!device.is_up()) return {};
  return {.is_up = true,
          .offloads = device.offloads(),
          .transmit_queues = device.open_transmit_queues(),
          .mtu = device.mtu(),
          .openings = device.openings()};
}

void LinkWatch::follow_ports(std::span<const PortIndex> left) {
  for (const PortIndex port : left) seen_[port] = {};
  seen_.resize(ports_.size());
  has_changed_ = true;
}

std::vector<LinkWatch::Change> LinkWatch::look(SteadyTime now) {
  std::vector<Change> changes;
  devices_.follow_kernel();
  devices_.connect_at_once(now);
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    const Device* const device = ports_[i].exists ? devices_.find(i) : nullptr;
    const Seen before = std::exchange(seen_[i], device == nullptr ? Seen{} : seen_of(*device));
    if (seen_[i] == before) continue;
    has_changed_ = true;
    if (seen_[i].mtu != before.mtu) tell_mtu(i, now);
    const bool is_up = seen_[i].is_up;
    if (is_up && before.is_up && seen_[i].openings != before.openings)
      changes.push_back({static_cast<PortIndex>(i), false});  // it was, unseen
    else if (is_up == before.is_up)
      continue;
    changes.push_back({static_cast<PortIndex>(i), is_up});
    log_.log(spdlog::level::info, {"link", ports_[i].name}, now, "port {} is {}", ports_[i].name,
             is_up ? "up" : "down");
  }
  return changes;
}

void LinkWatch::tell_mtu(std::size_t port, SteadyTime now) {
  const auto& [name, mtu] = std::tie(ports_[port].name, ports_[port].mtu);
  if (seen_[port].is_up && seen_[port].mtu < mtu)
    log_.log(spdlog::level::warn, {"mtu", name}, now,
             "port {}: its interface has an MTU of {}, less than the {} that are configured: that counts",
             name, seen_[port].mtu, mtu);
}

void LinkWatch::tell_who_waits() const {
  for (std::size_t i = 0; i < seen_.size(); ++i) tell_who_waits(static_cast<PortIndex>(i));
}

void LinkWatch::tell_who_waits(PortIndex port) const {
  const auto& config = ports_[port].config;
  if (!seen_[port].is_up && config != nullptr && !config->vhost_user.empty())
    spdlog::info("port {} waits for a VM on {}", config->name, config->vhost_user);
}

void LinkWatch::fill(dataplane::ForwardingState& next, std::size_t worker_count) {
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    next.ports[i].up = seen_[i].is_up;
    next.ports[i].mtu = std::min(ports_[i].mtu, seen_[i].mtu);
    next.ports[i].offloads = seen_[i].offloads;
    next.ports[i].tx_queues =
        static_cast<std::uint8_t>(std::min<std::size_t>(seen_[i].transmit_queues, worker_count));
  }
  for (std::size_t i = 0; i < next.uplinks.size(); ++i)
    next.uplinks[i].mtu = std::min(next.uplinks[i].mtu, seen_[i].mtu);
  next.smallest_mtu = UINT16_MAX;
  for (std::size_t i = next.uplinks.size(); i < seen_.size(); ++i)
    if (ports_[i].exists) next.smallest_mtu = std::min(next.smallest_mtu, next.ports[i].mtu);
  has_changed_ = false;
}

}  // namespace vmnat::control
