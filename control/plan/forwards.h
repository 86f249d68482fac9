// SPDX-License-Identifier: Apache-2.0
// Port forwards: which external endpoints lead to which VMs.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "control/config/model.h"
#include "control/plan/external_addresses.h"
#include "control/plan/ports.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

// A forward on one external address.
struct ForwardPlan {
  net::Endpoint external;  // the first, of `ports` side by side
  unsigned ports = 1;
  net::Protocol protocol{};
  std::vector<net::Endpoint> to;  // for the first port; the others follow in order
  net::Ipv4Prefix from{{}, 0};    // the remotes that it is for; of length 0: any
  NetworkIndex network = 0;
  // What `to` opens leaves by `external`. Of a forward on several addresses that holds for one of them.
  bool is_mapping = true;
  bool is_draining = false;  // its address is: nothing opens by it
  bool operator==(const ForwardPlan&) const = default;

  [[nodiscard]] net::Endpoint external_at(unsigned port) const { return further(external, port); }
  [[nodiscard]] std::vector<net::Endpoint> to_at(unsigned port) const {
    std::vector<net::Endpoint> all;
    for (const net::Endpoint server : to) all.push_back(further(server, port));
    return all;
  }
  static net::Endpoint further(net::Endpoint endpoint, unsigned ports) {
    return {endpoint.address,
            net::L4Port::from_host(static_cast<std::uint16_t>(endpoint.port.host() + ports))};
  }
};

// The forwards of all networks, one for each external address that they are on. While DHCP has given an uplink none,
// forwards on it stand at 0.0.0.0, and those that name one (`address:`) are left out.
std::vector<ForwardPlan> plan_forwards(const config::Config& config, const RentedAddresses& rented = {});

// Port by port where remotes are led, those that stand at 0.0.0.0 left out.
using ListeningEndpoint = std::pair<net::Endpoint, net::Protocol>;
std::map<ListeningEndpoint, dataplane::ForwardRules> listeners_of(const std::vector<ForwardPlan>& forwards);

// Fills in what workers need of the forwards; those at 0.0.0.0 are left out. Of several forwards to one
// endpoint the first is its mapping.
void set_forwards(const std::vector<ForwardPlan>& forwards, dataplane::ForwardingState& state);

}  // namespace vmnat::control
