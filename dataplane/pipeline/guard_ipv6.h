// SPDX-License-Identifier: Apache-2.0
// What a VM may not tell its neighbours in IPv6, of which vmnat itself has none: that it is their router or
// their DHCPv6 server, which would lead all that they send to it, nor that an address is at a neighbour's
// MAC.
//
//   router advertisement, redirect     rogue_router: RFC 6105, also behind extension headers (RFC 7113)
//   UDP to port 546                    rogue_dhcp: RFC 7610
//   link-layer address options         spoofed_mac, unless the MAC is the port's, as in ARP
//   no end of the extension headers    ipv6_hidden: in the frame or, of fragments, in the first one (RFC
//   7112);
//                                      or more of them than kMostExtensions
//   neighbour discovery in fragments   ipv6_hidden: nobody heeds it (RFC 6980)
//
// Later fragments pass: without their first one they are nothing. So do ESP, tunnels and what is not known,
// of which a stack that was not told to makes nothing. Nobody owns an IPv6 address: who speaks of which is
// not looked at.
#pragma once

#include <optional>

#include "dataplane/context/port_rights.h"
#include "dataplane/frame/drop_reasons.h"
#include "dataplane/frame/frame_reader.h"

namespace vmnat::dataplane {

inline constexpr unsigned kMostExtensions = 16;       // headers, of 8 bytes to 2 KB each
inline constexpr unsigned kMostNeighborOptions = 32;  // of one message

// Why the IPv6 packet at this offset may not go to the neighbours of a guarded port.
[[gnu::cold]] std::optional<DropReason> refusal_of_ipv6(const FrameReader& frame, std::uint32_t at,
                                                        const PortRights& sender);

}  // namespace vmnat::dataplane
