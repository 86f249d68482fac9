// SPDX-License-Identifier: Apache-2.0
// LeaseExports: one network's leases in files that other programs read (`dhcp.exports`), kept current.
//
// A change is written within a second, together with others. Writing takes a twentieth of control's time at
// most: 60 000 leases, whose text takes some 30 ms, are written about once a second. When a file cannot be
// written, the log says so once, `problem()` as long as it lasts, and writing is tried again.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/time.h"
#include "control/config/model.h"
#include "dhcp/lease.h"

namespace vmnat::control {

class LeaseExports {
 public:
  // Something has changed: leases, or the paths.
  void note_change() { stale_ = true; }
  [[nodiscard]] bool is_due(const config::DhcpExports& paths, SteadyTime now) const {
    return stale_ && now >= next_ && (paths.dnsmasq || paths.libvirt);
  }
  void write(const config::DhcpExports& paths, std::span<const dhcp::Lease> leases, SteadyTime now);
  // A sentence; empty: the files are current, or will be in a moment.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  bool stale_ = true;
  std::string problem_;
  SteadyTime next_{};
};

}  // namespace vmnat::control
