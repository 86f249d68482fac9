// SPDX-License-Identifier: Apache-2.0
// MacLearning: which MAC address lives on which port, from what workers report.
//
// A MAC lives where its last frame came from. A port has a bounded number of MACs; the one learned first
// makes room for the newest, so a VM that invents addresses harms only itself. A port's MACs are forgotten
// when its link goes down.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

class MacLearning {
 public:
  static constexpr std::size_t kMaxPerPort = 256;

  // True when something changed. The gateway's own MACs are not to be passed in.
  bool learn(dataplane::NetworkIndex network, net::MacAddr mac, PortIndex port);
  // The MAC belongs to this port: it moves there if it was learned elsewhere.
  void bring_home(dataplane::NetworkIndex network, net::MacAddr mac, PortIndex port);
  bool forget_port(PortIndex port);

  // The network's table for a forwarding state.
  [[nodiscard]] dataplane::WordTable<PortIndex> table(dataplane::NetworkIndex network) const;
  // The MAC that the port learned last; zero: none.
  [[nodiscard]] net::MacAddr latest(PortIndex port) const;
  [[nodiscard]] std::vector<net::MacAddr> of_port(PortIndex port) const;

 private:
  using Key = std::pair<dataplane::NetworkIndex, net::MacAddr>;
  void remove_from_port(PortIndex port, const Key& key);
  std::map<Key, PortIndex> ports_;
  std::unordered_map<PortIndex, std::vector<Key>> by_port_;  // oldest first
};

}  // namespace vmnat::control
