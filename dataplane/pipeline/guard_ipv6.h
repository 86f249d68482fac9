// SPDX-License-Identifier: Apache-2.0
// The guard of IPv6, which vmnat switches between VMs and does not route. A VM may not say that it is its
// neighbours' router or DHCPv6 server, nor that an address is at a neighbour's MAC.
//
//   router advertisement, redirect     rogue_router: RFC 6105, also behind extension headers (RFC 7113)
//   UDP to port 546                    rogue_dhcp: RFC 7610
//   link-layer address options         spoofed_mac, unless the MAC is the port's, as in ARP
//   chain of extension headers that    ipv6_hidden: of fragments, in the first one (RFC 7112);
//     does not end in the frame        or more headers than kMostExtensions
//   neighbour discovery in fragments   ipv6_hidden: receivers ignore it (RFC 6980)
//
// Later fragments pass: without the first one they are useless. So do ESP, tunnels and unknown protocols,
// which a guest ignores unless it is configured for them. IPv6 addresses have no owners, and are not looked
// at.
#pragma once

#include <optional>

#include "dataplane/context/port_rights.h"
#include "dataplane/frame/drop_reasons.h"
#include "dataplane/frame/frame_reader.h"

namespace vmnat::dataplane {

inline constexpr unsigned kMostExtensions = 16;       // headers, of 8 bytes to 2 KB each
inline constexpr unsigned kMostNeighborOptions = 32;  // of one message

// The reason not to let the IPv6 packet at this offset go to the neighbours of a guarded port.
[[gnu::cold]] std::optional<DropReason> refusal_of_ipv6(const FrameReader& frame, std::uint32_t at,
                                                        const PortRights& sender);

}  // namespace vmnat::dataplane
