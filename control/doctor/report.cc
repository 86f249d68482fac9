// SPDX-License-Identifier: Apache-2.0
#include "control/doctor/report.h"

#include <nlohmann/json.hpp>

#include "control/config/load.h"
#include "control/doctor/examine.h"

namespace vmnat::doctor {

nlohmann::json to_json(const Finding& finding) {
  return {{"id", finding.row->id},       {"severity", to_word(finding.row->severity)},
          {"object", finding.object},    {"seen", finding.seen},
          {"means", finding.row->means}, {"mend", finding.mend}};
}

std::vector<Finding> examine_offline(const Offline& offline) {
  Findings first;
  const auto file = fmt::arg("file", offline.config_path);
  if (offline.why == Offline::Why::NotRunning) first.add("daemon-not-running", "vmnatd", offline.seen, file);
  if (offline.why == Offline::Why::Silent) first.add("daemon-silent", "vmnatd", offline.seen);
  const auto config = config::load_config(offline.config_path);
  if (!config) {
    for (const config::Problem& problem : config.error())
      first.add("config-invalid", "configuration", config::to_string(problem), file);
    return first.take();
  }
  std::vector<Finding> found = first.take();
  const HostFacts host = gather_host(*config);
  for (Finding& finding : examine({.config = *config, .host = host, .live = nullptr}))
    found.push_back(std::move(finding));
  return found;
}

}  // namespace vmnat::doctor
