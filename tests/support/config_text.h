// SPDX-License-Identifier: Apache-2.0
// Short ways to make configuration texts for tests, and to load them the same on every machine.
#pragma once

#include <string>
#include <vector>

#include "control/config/load.h"

namespace vmnat::config {

inline const std::string kUplink = "uplink: {device: eth0, address: 203.0.113.2/24, gateway: 203.0.113.1}\n";
inline const std::string kNetworks = "networks: [{name: a, address: 192.168.122.1/24}]\n";

inline LoadOptions fixed_resolvers() {
  return {.resolvers = [] { return std::vector{net::Ipv4Addr::of(192, 0, 2, 53)}; }};
}
inline Loaded load_text(const std::string& text) {
  return load_config_text(text, "f.yaml", fixed_resolvers());
}

// "LINE:COL: message" of every problem.
inline std::vector<std::string> problems_of(const Loaded& loaded) {
  std::vector<std::string> lines;
  if (loaded) return lines;
  for (const Problem& problem : loaded.error())
    lines.push_back(to_string(problem).substr(std::string{"f.yaml:"}.size()));
  return lines;
}

}  // namespace vmnat::config
