// SPDX-License-Identifier: Apache-2.0
// VmPlaces: at which of its ports a VM is that may migrate (`migrates_from`).
//
// A VM that is migrated runs under another VMM, at another port. What it has (leases, addresses, sessions) is
// known by the name of its origin, the port that the others name. It comes along once its port is down and
// another of its ports is up; so nobody takes over from a VM that is there, and none but the ports that the
// configuration names may take over at all: what a guest says of itself decides nothing.
//
//   ports: [{name: vm1}, {name: vm1b, migrates_from: vm1}]
//   vm1 up            the VM is at vm1
//   vm1b up           still at vm1; who is at vm1b has nothing
//   vm1 down          the VM is at vm1b: Move{vm1, vm1b}
//   vm1 up            still at vm1b
//   vm1b down         back at vm1: Move{vm1b, vm1}
//
// Two ports exchange what they have: each name is that of one port, always. Control's thread.
#pragma once

#include <optional>
#include <vector>

#include "base/ids.h"
#include "control/plan/ports.h"

namespace vmnat::control {

class VmPlaces {
 public:
  // No port is up. `ports` outlive it, and change in place.
  explicit VmPlaces(const std::vector<PortPlan>& ports) : ports_(ports) { follow_ports(); }

  struct Move {
    PortIndex from, to;
    bool operator==(const Move&) const = default;
  };
  std::optional<Move> follow_link(PortIndex port, bool is_up);
  // Ports have come or left. The VM of an origin whose port has left is at its origin's.
  void follow_ports();

  // The port by whose name the VM is known that is there now; nearly always the port itself.
  [[nodiscard]] PortIndex vm_at(PortIndex port) const { return places_[port].vm; }
  // Where the VM of that name is now.
  [[nodiscard]] PortIndex port_of(PortIndex vm) const { return places_[vm].port; }

 private:
  struct Place {
    PortIndex origin = 0;
    bool is_up = false;
    PortIndex vm = 0;    // whose is here
    PortIndex port = 0;  // of the VM of this name: places_[port].vm is this one
  };
  void exchange(PortIndex one, PortIndex other);

  const std::vector<PortPlan>& ports_;
  std::vector<Place> places_;  // by PortIndex
};

}  // namespace vmnat::control
