// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "dhcp/lease.h"

namespace vmnat::control {

// "2026-01-01T12:00:00Z"
std::string rfc3339(dhcp::WallTime time);

}  // namespace vmnat::control
