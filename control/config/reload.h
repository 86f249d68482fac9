// SPDX-License-Identifier: Apache-2.0
// Reload: what sets two configurations apart, and which of it a running daemon takes over.
//
// Live are the keys whose rows say so (keys_*.h). Everything else has become devices or memory and needs a
// restart. A reload that would need one changes nothing at all. Example: with other `lease_time` and
// `uplink.device`, compare() answers
//
//   {.live = {"network default: dhcp.lease_time is now 10m"}, .restart = {"uplink.device"}}
#pragma once

#include <string>
#include <vector>

#include "control/config/model.h"

namespace vmnat::control {

struct Changes {
  std::vector<std::string> live;     // sentences
  std::vector<std::string> restart;  // keys, a network's as "networks.NAME.KEY"
};
Changes compare(const config::Config& running, const config::Config& wanted);

// "needs a restart: uplink.device, networks.default.nat.addresses; nothing was changed"
std::string restart_sentence(const std::vector<std::string>& keys);

}  // namespace vmnat::control
