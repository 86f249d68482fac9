// SPDX-License-Identifier: Apache-2.0
// The admin commands about DHCP: leases and reservations, listed and changed by hand.
#pragma once

#include "control/admin/server.h"
#include "control/dhcp/dhcp_service.h"

namespace vmnat::control {

// `leases`, `lease-release`, `reserve-add`, `reserve-del`; see admin/README.md. `dhcp` outlives the server.
void register_dhcp_commands(admin::Server& server, DhcpService& dhcp);

}  // namespace vmnat::control
