// SPDX-License-Identifier: Apache-2.0
// The admin commands about DHCP, which list leases and change leases and reservations; see admin/README.md.
#pragma once

#include "control/admin/server.h"
#include "control/dhcp/dhcp_service.h"

namespace vmnat::control {

admin::Answer list_leases(const DhcpService& dhcp);
Result<admin::Answer> release_lease(DhcpService& dhcp, const admin::Json& arguments);
Result<admin::Answer> add_reservation(DhcpService& dhcp, const admin::Json& arguments);
Result<admin::Answer> delete_reservation(DhcpService& dhcp, const admin::Json& arguments);

}  // namespace vmnat::control
