// SPDX-License-Identifier: Apache-2.0
// The reservations that were added to a running daemon, as lines of a file of their own:
//
//   192.168.122.10 mac 52:54:00:aa:00:01 web1
//   192.168.122.11 port vm2 -
//
// A line that cannot be read is left out and counted; the file is replaced as a whole, durably.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "control/result.h"
#include "dhcp/settings.h"

namespace vmnat::control {

struct ReservationFile {
  std::vector<dhcp::Reservation> reservations;
  std::size_t damaged_lines = 0;
};
// No file is an empty one.
ReservationFile read_reservations(const std::string& path);
Result<void> write_reservations(const std::string& path, std::span<const dhcp::Reservation> reservations);

}  // namespace vmnat::control
