// SPDX-License-Identifier: Apache-2.0
#include "control/dhcp/rfc3339.h"

#include <fmt/chrono.h>

namespace vmnat::control {

std::string rfc3339(dhcp::WallTime time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", std::chrono::time_point_cast<std::chrono::seconds>(time));
}

}  // namespace vmnat::control
