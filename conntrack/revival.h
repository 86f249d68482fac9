// SPDX-License-Identifier: Apache-2.0
// What goes on of an earlier process: its sessions, one by one, from the records that it has left.
//
// Only the records are kept. Index, mappings, ports, permissions and counts follow from them
// (Conntrack::restore). A record is believed as far as it agrees with itself and with the configuration; what
// does not is left out, under the first of these reasons that holds:
//
//   192.168.122.10:40000 -> 203.0.113.2:40000, towards 198.51.100.1:443, established    Restored
//   the same, while 203.0.113.2 is no longer in `nat.addresses`                         NotExternal
#pragma once

#include <array>
#include <cstdint>

#include "base/ids.h"
#include "conntrack/session.h"

namespace vmnat::conntrack {

// A session as it was, and where it belongs by today's numbers.
struct Former {
  Session record;
  std::uint16_t policy = 0;
  PortIndex vm_port = 0;
  // Its external endpoint is that of a forward to its internal one, its external address that one's alone, or it is
  // not translated, as a rule says.
  bool is_forwarded = false;
};

enum class Revival : std::uint8_t {
  Restored,
  Torn,         // it was being written when the process ended
  Damaged,      // it contradicts itself, or another session
  TimedOut,     // meanwhile
  NoNetwork,    // its network is gone, or is not translated any more
  NoPort,       // its VM's port is gone, or is another network's
  NotInside,    // the VM's address is none of the network's, or the remote one is
  NotExternal,  // the external address or port is none that the network's flows may have
  PortTaken,    // its external port is in a block that another worker needs
  NoRoom,       // the table is smaller, and full
};
inline constexpr auto kRevivals = static_cast<unsigned>(Revival::NoRoom) + 1;
// "restored", "torn", "damaged", "timed_out" ...
inline constexpr std::array<const char*, kRevivals> kRevivalNames{
    "restored",  "torn",       "damaged",      "timed_out",  "network_gone",
    "port_gone", "not_inside", "not_external", "port_taken", "no_room"};

// How many sessions became what.
using Revivals = std::array<std::uint32_t, kRevivals>;

}  // namespace vmnat::conntrack
