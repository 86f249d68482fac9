// SPDX-License-Identifier: Apache-2.0
// PortRights: which MACs and addresses the VMs of a port may send from; guard.h says by what right.
#pragma once

#include "base/ids.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::dataplane {

class PortRights {
 public:
  PortRights(const ForwardingState& state, PortIndex port)
      : network_(state.network_at(port)),
        port_(port),
        guard_(state.ports[port].guard),
        is_guarded_(state.ports[port].is_guarded) {}

  [[nodiscard]] const Network& network() const { return network_; }
  [[nodiscard]] Guard guard() const { return guard_; }
  [[nodiscard]] bool is_guarded() const { return is_guarded_; }  // `guard: on`

  [[nodiscard]] bool is_owned(net::MacAddr mac) const {
    return network_.mac_owners.find(mac.as_word()) != nullptr;
  }
  [[nodiscard]] bool may_use(net::MacAddr mac) const {
    return may_use(network_.mac_owners.find(mac.as_word()), Guard::OwnMac);
  }
  [[nodiscard]] bool may_use(net::Ipv4Addr address) const {
    return may_use(network_.address_owners.find(address.raw()), Guard::OwnBoth);
  }

 private:
  // `least`: from which guard on what nobody owns is refused.
  [[nodiscard]] bool may_use(const PortIndex* owner, Guard least) const {
    if (owner == nullptr) return guard_ < least;
    return *owner == port_ || (*owner != kUplinkPort && guard_ == Guard::GatewayOnly);
  }

  const Network& network_;
  PortIndex port_;
  Guard guard_;
  bool is_guarded_;
};

}  // namespace vmnat::dataplane
