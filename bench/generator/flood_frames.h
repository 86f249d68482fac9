// SPDX-License-Identifier: Apache-2.0
// The frames of a VM that wants all of the gateway for itself: one table of floods, by name.
//
// A flood is one frame over and over, or one that varies by its number: a DISCOVER of another transaction, a
// datagram of another flow. Pure functions of addresses and numbers; no DPDK.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "net/address.h"

namespace vmnat::bench {

// Who floods, and whom.
struct FloodEnds {
  net::MacAddr own, gateway;
  net::Ipv4Addr address, gateway_address;
  net::Ipv4Addr remote;  // beyond the router
  net::Ipv4Addr silent;  // on the uplink's own subnet, and answers no ARP
};

struct Flood {
  std::string_view name, says;
  std::vector<std::byte> (*frame)(const FloodEnds& ends);
  void (*vary)(std::byte* frame, std::uint32_t number) = nullptr;
  std::uint16_t segment_size = 0;  // of a TCP super-frame
};

std::span<const Flood> all_floods();
// nullptr: there is none of that name.
const Flood* find_flood(std::string_view name);

}  // namespace vmnat::bench
