// SPDX-License-Identifier: Apache-2.0
// SwitchTables: what the switch and its guard know of VMs: which MAC lives on which port, and who owns which
// MAC and address.
//
// A network's tables are made anew only when what they are made of has changed: MACs that workers report,
// links that come and go, leases.
#pragma once

#include <span>
#include <vector>

#include "base/ids.h"
#include "control/dhcp/dhcp_service.h"
#include "control/gateway/state_publisher.h"
#include "control/hosts/mac_learning.h"
#include "control/hosts/ownership.h"
#include "control/plan/ports.h"
#include "dataplane/context/rings.h"

namespace vmnat::control {

class SwitchTables {
 public:
  // All of them outlive it.
  SwitchTables(const std::vector<PortPlan>& ports, const VmPlaces& places, const StatePublisher& states);

  // A MAC was seen at a VM's port.
  void learn(const dataplane::LearnedMac& learned);
  void follow_link(PortIndex port, bool is_up);
  // Ports and networks have come or changed, and these ports have left. All leases follow, as whole news.
  void follow_plan(std::span<const PortIndex> ports_left);
  // A VM has moved to this port.
  void follow_move(PortIndex port);
  void follow_leases(std::span<const DhcpService::News> news);

  // The state that was filled in last is out of date.
  [[nodiscard]] bool has_changed() const { return has_changed_; }
  // Answers, by network, whether its table of MACs was made anew.
  std::vector<bool> fill(dataplane::ForwardingState& next);

  [[nodiscard]] const MacLearning& macs() const { return macs_; }
  // Tables that were made anew.
  [[nodiscard]] std::uint64_t owner_tables_made() const { return owner_tables_made_; }
  [[nodiscard]] std::uint64_t mac_tables_made() const { return mac_tables_made_; }

 private:
  void note_macs_changed(NetworkIndex network);

  const std::vector<PortPlan>& ports_;
  const StatePublisher& states_;
  MacLearning macs_;
  Ownership ownership_;
  bool has_changed_ = true;
  bool owners_changed_ = true;
  std::vector<bool> macs_changed_;  // by network
  std::uint64_t owner_tables_made_ = 0, mac_tables_made_ = 0;
};

}  // namespace vmnat::control
