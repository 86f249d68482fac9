// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "conntrack/policy.h"
#include "net/address.h"

namespace vmnat::control {

// "9.9.9.9:53"; of a protocol without ports "9.9.9.9".
inline std::string endpoint_text(net::Endpoint endpoint, net::Protocol protocol) {
  const bool has_port = conntrack::port_space(protocol) != conntrack::PortSpace::None;
  return has_port ? net::to_string(endpoint) : net::to_string(endpoint.address);
}

}  // namespace vmnat::control
