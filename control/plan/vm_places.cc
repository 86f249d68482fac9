// SPDX-License-Identifier: Apache-2.0
#include "control/plan/vm_places.h"

#include <algorithm>
#include <utility>

namespace vmnat::control {

void VmPlaces::follow_ports() {
  for (std::size_t i = places_.size(); i < ports_.size(); ++i)
    places_.push_back({.vm = static_cast<PortIndex>(i), .port = static_cast<PortIndex>(i)});
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    const auto port = static_cast<PortIndex>(i);
    places_[port].origin = ports_[i].exists ? origin_of(ports_, ports_[i]) : port;
    if (ports_[i].exists) continue;
    places_[port].is_up = false;
    exchange(port, places_[port].port);
  }
}

std::optional<VmPlaces::Move> VmPlaces::follow_link(PortIndex port, bool is_up) {
  places_[port].is_up = is_up;
  const PortIndex origin = places_[port].origin, from = places_[origin].port;
  if (places_[from].is_up) return std::nullopt;
  const auto is_its_and_up = [origin](const Place& place) { return place.origin == origin && place.is_up; };
  const auto found = std::ranges::find_if(places_, is_its_and_up);
  if (found == places_.end()) return std::nullopt;
  const auto to = static_cast<PortIndex>(found - places_.begin());
  exchange(from, to);
  return Move{from, to};
}

void VmPlaces::exchange(PortIndex one, PortIndex other) {
  std::swap(places_[one].vm, places_[other].vm);
  places_[places_[one].vm].port = one;
  places_[places_[other].vm].port = other;
}

}  // namespace vmnat::control
