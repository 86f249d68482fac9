// SPDX-License-Identifier: Apache-2.0
// Indices that all floors share: ports of the switch, workers, and the two directions through the NAT.
#pragma once

#include <cstdint>

namespace vmnat {

// A port of the switch, a VM's or the uplink's, by its place in the configuration. A transport port is a
// net::L4Port.
using PortIndex = std::uint16_t;

using WorkerIndex = std::uint8_t;
inline constexpr WorkerIndex kNoWorker = 0xff;

// Outbound: from a VM to the uplink. Inbound: from the uplink to a VM (RFC 4787 section 2).
enum class Direction : std::uint8_t { Outbound, Inbound };

}  // namespace vmnat
