// SPDX-License-Identifier: Apache-2.0
// Hairpin: from one VM to another by way of an external address (RFC 4787 REQ-9, RFC 5508 REQ-7). Cold.
//
// The frame goes the whole way out, up to the uplink; there it turns round and comes in, as if a router had
// sent it back. So it passes two sessions and the receiver's filter, and the receiver sees the sender's
// external address and port, whether both are in one network or not. Example, with 8080 forwarded to .10:80:
//
//   192.168.122.11:5000 > 203.0.113.2:8080    out   203.0.113.2:5000 > 203.0.113.2:8080
//                                             in    203.0.113.2:5000 > 192.168.122.10:80
//
// Only for external addresses on an uplink's link, whichever the sender's network is on; for others the router turns
// the frame round. A frame turns round once at most: inbound frames do not leave by an uplink.
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// True when a frame out for this address is to turn round.
inline bool turns_round(const Context& context, net::Ipv4Addr remote) {
  return context.state->is_on_link(remote) && context.state->is_external(remote);
}

// Queues a translated outbound frame, to come in again; `from` is the sender's port.
[[gnu::cold]] void turn_round(Context& context, rte_mbuf* frame, PortIndex from);

}  // namespace vmnat::dataplane
