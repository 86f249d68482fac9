// SPDX-License-Identifier: Apache-2.0
// The checks: from what is known to what is wrong. Pure functions, one file for each kind of thing that is looked at.
#pragma once

#include <string>
#include <vector>

#include "control/config/model.h"
#include "control/config/problem.h"
#include "control/doctor/finding.h"
#include "control/doctor/host_facts.h"
#include "control/doctor/live_facts.h"

namespace vmnat::doctor {

// What the checks look at. `live` is null where no vmnatd runs, or none was asked.
struct Patient {
  const config::Config& config;
  const HostFacts& host;
  const LiveFacts* live;
};

// All of the checks below.
std::vector<Finding> examine(const Patient& patient);

void check_control(const Patient& patient, Findings& findings);     // vmnatd's own files and sockets
void check_memory(const Patient& patient, Findings& findings);      // and limits
void check_cpus(const Patient& patient, Findings& findings);        // and the kernel
void check_nics(const Patient& patient, Findings& findings);        // of DPDK
void check_interfaces(const Patient& patient, Findings& findings);  // of the kernel
void check_sockets(const Patient& patient, Findings& findings);     // of VMs
void check_guests(const Patient& patient, Findings& findings);
void check_networks(const Patient& patient, Findings& findings);
void check_uplink(const Patient& patient, Findings& findings);
void check_clock(const Patient& patient, Findings& findings);

}  // namespace vmnat::doctor
