// SPDX-License-Identifier: Apache-2.0
#include "control/slow_path/switch_tables.h"

#include <utility>

namespace vmnat::control {

SwitchTables::SwitchTables(const std::vector<PortPlan>& ports, const VmPlaces& places,
                           const StatePublisher& states)
    : ports_(ports),
      states_(states),
      ownership_(ports, places, states.current()),
      macs_changed_(states.current().networks.size(), true) {}

void SwitchTables::note_macs_changed(NetworkIndex network) {
  macs_changed_[network] = has_changed_ = true;
}

void SwitchTables::learn(const dataplane::LearnedMac& learned) {
  const NetworkIndex network = ports_[learned.port].network;
  // Reported under an older state it may be somebody's by now.
  const PortIndex* owner = states_.current().networks[network].mac_owners.find(learned.mac.as_word());
  if (owner != nullptr && *owner != learned.port) return;
  if (macs_.learn(network, learned.mac, learned.port)) note_macs_changed(network);
}

void SwitchTables::follow_link(PortIndex port, bool is_up) {
  if (ports_[port].is_uplink) return;
  if (!is_up) macs_.forget_port(port);
  note_macs_changed(ports_[port].network);
}

void SwitchTables::follow_plan(std::span<const PortIndex> ports_left) {
  for (const PortIndex port : ports_left) macs_.forget_port(port);
  ownership_.begin_anew(states_.current());
  macs_changed_.assign(states_.current().networks.size(), true);
  owners_changed_ = has_changed_ = true;
}

void SwitchTables::follow_move(PortIndex port) {
  ownership_.note_moved(ports_[port].network);
  if (ownership_.take_changed()) owners_changed_ = has_changed_ = true;
}

void SwitchTables::follow_leases(std::span<const DhcpService::News> news) {
  for (const DhcpService::News& of_network : news) {
    if (of_network.is_whole)
      ownership_.replace(of_network.network, of_network.leases);
    else
      for (const dhcp::Lease& lease : of_network.leases) ownership_.note(of_network.network, lease);
  }
  if (ownership_.take_changed()) owners_changed_ = has_changed_ = true;
}

// Owners first: MACs may move to them.
std::vector<bool> SwitchTables::fill(dataplane::ForwardingState& next) {
  if (std::exchange(owners_changed_, false)) {
    ownership_.bring_macs_home(macs_);
    ownership_.fill(next, macs_);
    macs_changed_.assign(macs_changed_.size(), true);
    ++owner_tables_made_;
  }
  for (std::size_t i = 0; i < macs_changed_.size(); ++i) {
    if (!macs_changed_[i]) continue;
    const auto network = static_cast<NetworkIndex>(i);
    next.networks[i].macs = macs_.table(network);
    ownership_.follow_learning(network, next, macs_);
    ++mac_tables_made_;
  }
  has_changed_ = false;
  return std::exchange(macs_changed_, std::vector<bool>(macs_changed_.size(), false));
}

}  // namespace vmnat::control
