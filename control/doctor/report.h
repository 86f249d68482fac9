// SPDX-License-Identifier: Apache-2.0
// Findings as `vmnatctl --json doctor` and /api/doctor show them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "control/config/problem.h"
#include "control/doctor/finding.h"

namespace vmnat::doctor {

nlohmann::json to_json(const Finding& finding);

// Without vmnatd: why it was not asked, and what the machine and the configuration file say.
struct Offline {
  enum class Why { NotRunning, Silent, NotAsked } why;
  std::string seen;  // of the admin socket
  std::string config_path;
};
std::vector<Finding> examine_offline(const Offline& offline);

}  // namespace vmnat::doctor
