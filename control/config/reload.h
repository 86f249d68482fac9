// SPDX-License-Identifier: Apache-2.0
// Reload: what sets two configurations apart, and which of it a running daemon takes over.
//
// Live are the keys whose rows say so (keys_*.h). Everything else has become devices or memory, and needs a restart.
// A change that would need one changes nothing at all. Of a list whose elements have names (kNamed,
// KeyTraits::element) each element that has come, gone or changed is told. Example:
//
//   {.live = {"network default: dhcp.lease_time is now 10m", "network default: reservation 192.168.122.9 added"},
//    .restart = {"uplink.device"}, .held = {"uplink.device has changed"}}
#pragma once

#include <string>
#include <vector>

#include "control/config/model.h"

namespace vmnat::control {

struct Changes {
  std::vector<std::string> live;     // sentences
  std::vector<std::string> restart;  // keys, a network's as "networks.NAME.KEY"
  std::vector<std::string> held;     // sentences: what it is that needs the restart
};
Changes compare(const config::Config& running, const config::Config& wanted);

// "needs a restart: uplink.device, conntrack.sessions; nothing was changed"
std::string restart_sentence(const std::vector<std::string>& keys);

}  // namespace vmnat::control
