// SPDX-License-Identifier: Apache-2.0
// The wall clock, which leases and logs go by.
#include "control/doctor/examine.h"

namespace vmnat::doctor {

void check_clock(const Patient& patient, Findings& findings) {
  constexpr std::int64_t kAgesAgo = 1'704'067'200;  // 2024-01-01: no vmnatd is older
  constexpr std::chrono::hours kLately{1};
  const HostFacts& host = patient.host;
  if (host.wall_s != 0 && host.wall_s < kAgesAgo)
    findings.add("clock-unset", "clock", fmt::format("it says {} s since 1970", host.wall_s));
  if (patient.live != nullptr && patient.live->clock_step && patient.live->clock_step->ago < kLately)
    findings.add("clock-stepped", "clock",
                 fmt::format("by {:.1f} s, {} s ago",
                             std::chrono::duration<double>(patient.live->clock_step->by).count(),
                             patient.live->clock_step->ago.count()));
  if (host.is_clock_synchronised == false)
    findings.add("clock-unsynchronised", "clock", "the kernel says that nobody keeps it right");
}

}  // namespace vmnat::doctor
