// SPDX-License-Identifier: Apache-2.0
#include "control/hosts/mac_learning.h"

#include <algorithm>

namespace vmnat::control {

using dataplane::NetworkIndex;

bool MacLearning::learn(NetworkIndex network, net::MacAddr mac, PortIndex port) {
  const Key key{network, mac};
  const auto known = ports_.find(key);
  if (known != ports_.end()) {
    if (known->second == port) return false;
    remove_from_port(known->second, key);
  }
  auto& keys = by_port_[port];
  if (keys.size() >= kMaxPerPort) {
    ports_.erase(keys.front());
    keys.erase(keys.begin());
  }
  keys.push_back(key);
  ports_[key] = port;
  return true;
}

void MacLearning::bring_home(NetworkIndex network, net::MacAddr mac, PortIndex port) {
  if (ports_.contains({network, mac})) learn(network, mac, port);
}

bool MacLearning::forget_port(PortIndex port) {
  const auto known = by_port_.find(port);
  if (known == by_port_.end()) return false;
  for (const Key& key : known->second) ports_.erase(key);
  by_port_.erase(known);
  return true;
}

dataplane::WordTable<PortIndex> MacLearning::table(NetworkIndex network) const {
  std::vector<dataplane::WordTable<PortIndex>::Entry> entries;
  for (auto at = ports_.lower_bound({network, {}}); at != ports_.end() && at->first.first == network; ++at)
    entries.push_back({at->first.second.as_word(), at->second});
  return dataplane::WordTable<PortIndex>(entries);
}

net::MacAddr MacLearning::latest(PortIndex port) const {
  const auto known = by_port_.find(port);
  return known == by_port_.end() || known->second.empty() ? net::MacAddr{} : known->second.back().second;
}

std::vector<net::MacAddr> MacLearning::of_port(PortIndex port) const {
  std::vector<net::MacAddr> macs;
  if (const auto known = by_port_.find(port); known != by_port_.end())
    for (const Key& key : known->second) macs.push_back(key.second);
  return macs;
}

void MacLearning::remove_from_port(PortIndex port, const Key& key) {
  auto& keys = by_port_[port];
  keys.erase(std::ranges::find(keys, key));
}

}  // namespace vmnat::control
