// SPDX-License-Identifier: Apache-2.0
// A configuration for tests of plans: the uplink is 203.0.113.2/24 with an MTU of 1400, the networks are
// given.
#pragma once

#include <stdexcept>
#include <string>

#include "control/config/load.h"

namespace vmnat::control {

inline config::Config configured(const std::string& networks) {
  const auto loaded = config::load_config_text(
      "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1, mtu: 1400}\nnetworks:\n" +
          networks,
      "test.yaml");
  if (loaded) return *loaded;
  throw std::runtime_error(to_string(loaded.error().front()));
}

inline const std::string kTwoNetworks =
    "  - {name: red, address: 192.168.122.1/24, dhcp: {},\n"
    "     ports: [{name: vm1, device: veth1}, {name: vm2, device: veth2}]}\n"
    "  - {name: blue, address: 192.168.5.1/24, forward: none, mac: 52:54:00:00:02:01,\n"
    "     ports: [{name: vm3, device: veth3}]}\n";

}  // namespace vmnat::control
