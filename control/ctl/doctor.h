// SPDX-License-Identifier: Apache-2.0
// `vmnatctl doctor`: what vmnatd finds; where none answers, what this program finds by itself.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "control/ctl/command_line.h"

namespace vmnat::ctl {

Exit print_doctor(const CommandLine& line, std::ostream& out, std::ostream& err);

// Findings for a person: the worst first, each with what it means and what mends it.
//
//   error    hugepages-missing  dataplane.hugepages: 0 MiB are free, dataplane.memory is 512 MiB
//            means  dataplane.hugepages is `required`, and fewer are free: vmnatd does not start.
//            mend   sysctl vm.nr_hugepages=257
std::string findings_text(const std::vector<nlohmann::json>& findings);

}  // namespace vmnat::ctl
