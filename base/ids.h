// SPDX-License-Identifier: Apache-2.0
// Indices that all floors share: ports of the switch, workers, and the two directions through the NAT.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vmnat {

// A port of the switch, a VM's or an uplink's, by its number (control/plan/numbers.h). A transport port is a
// net::L4Port.
using PortIndex = std::uint16_t;
// Ports and networks come and go while workers run: what is kept by their numbers has room for all from the start.
inline constexpr std::size_t kMostPorts = 1024;  // uplinks among them
inline constexpr std::size_t kMostNetworks = 256;
inline constexpr std::size_t kMostUplinks = 8;  // they have the lowest numbers of ports

using WorkerIndex = std::uint8_t;
inline constexpr WorkerIndex kNoWorker = 0xff;

// Outbound: from a VM to the uplink. Inbound: from the uplink to a VM (RFC 4787 section 2).
enum class Direction : std::uint8_t { Outbound, Inbound };

}  // namespace vmnat
