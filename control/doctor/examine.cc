// SPDX-License-Identifier: Apache-2.0
#include "control/doctor/examine.h"

#include <algorithm>

namespace vmnat::doctor {

std::vector<Finding> Findings::take() {
  std::ranges::stable_sort(found_, {}, [](const Finding& finding) {
    std::size_t place = 0;
    for (const Section& section : kSections) {
      if (finding.row >= section.rows.data() && finding.row < section.rows.data() + section.rows.size())
        return std::pair{finding.row->severity,
                         place + static_cast<std::size_t>(finding.row - section.rows.data())};
      place += section.rows.size();
    }
    return std::pair{finding.row->severity, place};
  });
  return std::move(found_);
}

std::vector<Finding> examine(const Patient& patient) {
  Findings findings;
  for (const auto check : {check_control, check_memory, check_cpus, check_nics, check_interfaces,
                           check_sockets, check_guests, check_networks, check_uplink, check_clock})
    check(patient, findings);
  return findings.take();
}

}  // namespace vmnat::doctor
