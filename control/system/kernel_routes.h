// SPDX-License-Identifier: Apache-2.0
// The kernel's IPv4 routes, read once (rtnetlink(7)).
#pragma once

#include <string>
#include <vector>

#include "control/result.h"
#include "net/address.h"

namespace vmnat::control {

struct KernelRoute {
  net::Ipv4Prefix to;
  std::string interface;        // empty: it has none, or has gone
  bool is_own_address = false;  // the host's, on that interface
};

// Those of the main table, and the host's own addresses.
Result<std::vector<KernelRoute>> read_routes();

}  // namespace vmnat::control
