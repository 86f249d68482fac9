// SPDX-License-Identifier: Apache-2.0
// The clock that a lease lasts by: it goes on while the machine sleeps, and nobody sets it.
#pragma once

#include "dhcp/client.h"

namespace vmnat::control {

dhcp::ClientTime boot_time();

}  // namespace vmnat::control
