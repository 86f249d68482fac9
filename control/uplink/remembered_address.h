// SPDX-License-Identifier: Apache-2.0
// The address that DHCP gave the uplink last, kept over restarts as one line of text.
//
// It is only a wish (RFC 2131 section 3.2: the server confirms it or says no), so a file that is lost or
// damaged costs a few messages and nothing else.
#pragma once

#include <optional>
#include <string>

#include "control/result.h"
#include "net/address.h"

namespace vmnat::control {

std::optional<net::Ipv4Addr> remembered_address(const std::string& path);
// Replaces the file as a whole.
Result<void> remember_address(const std::string& path, net::Ipv4Addr address);

}  // namespace vmnat::control
