// SPDX-License-Identifier: Apache-2.0
// Port forwards: which external endpoint leads to which VM.
#pragma once

#include <vector>

#include "control/config/model.h"
#include "control/plan/ports.h"
#include "dataplane/context/forwarding_state.h"

namespace vmnat::control {

struct ForwardPlan {
  net::Endpoint external;
  net::Protocol protocol{};
  net::Endpoint to;
  NetworkIndex network = 0;
  // What `to` opens leaves by `external`. Of a forward on several addresses that holds for one of them.
  bool is_mapping = true;
  bool is_draining = false;  // its address is: nothing opens by it
  bool operator==(const ForwardPlan&) const = default;
};

// The forwards of all networks, one for each external address that they are on. `rented` is the address that
// DHCP has given the uplink. While there is none, forwards on it stand at 0.0.0.0, and those that name one
// (`address:`) are left out.
std::vector<ForwardPlan> plan_forwards(const config::Config& config, net::Ipv4Addr rented = {});

// Fills in what workers need of the forwards; those at 0.0.0.0 are left out. Of several forwards to one
// endpoint the first is its mapping.
void set_forwards(const std::vector<ForwardPlan>& forwards, dataplane::ForwardingState& state);

}  // namespace vmnat::control
