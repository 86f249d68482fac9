// SPDX-License-Identifier: Apache-2.0
// LinkWatch: which ports are up, what their devices, or their guests, take off the workers' hands, and how long a
// packet their interfaces bear.
//
// The kernel tells of its interfaces; of other changes nobody tells control: it looks. A guest may go and another
// one come between two looks.
#pragma once

#include <span>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "control/devices/devices.h"
#include "control/log/log_budget.h"
#include "control/plan/ports.h"

namespace vmnat::control {

class LinkWatch {
 public:
  // All of them outlive it; `devices` are by PortIndex. No port is up before the first look.
  LinkWatch(Devices& devices, const std::vector<PortPlan>& ports, LogBudget& log)
      : devices_(devices), ports_(ports), log_(log), seen_(ports.size()) {}

  struct Change {
    PortIndex port;
    bool is_up;
  };
  // The links that have come or gone since the last look.
  std::vector<Change> look(SteadyTime now);
  // Ports have come, and these have left.
  void follow_ports(std::span<const PortIndex> left);
  // Which VMs' sockets wait for a VM, for the log.
  void tell_who_waits() const;
  void tell_who_waits(PortIndex port) const;

  // The state that was filled in last is out of date.
  [[nodiscard]] bool has_changed() const { return has_changed_; }
  void fill(dataplane::ForwardingState& next, std::size_t worker_count);

 private:
  struct Seen {
    bool is_up = false;
    dataplane::Offloads offloads{};
    std::uint16_t transmit_queues = 1;  // open ones
    std::uint16_t mtu = UINT16_MAX;     // of its interface
    std::uint32_t openings = 0;
    bool operator==(const Seen&) const = default;
  };
  static Seen seen_of(const Device& device);
  void tell_mtu(std::size_t port, SteadyTime now);

  Devices& devices_;
  const std::vector<PortPlan>& ports_;
  LogBudget& log_;
  std::vector<Seen> seen_;  // by PortIndex
  bool has_changed_ = false;
};

}  // namespace vmnat::control
