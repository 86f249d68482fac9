// SPDX-License-Identifier: Apache-2.0
// Refuse: a frame is dropped, and its sender gets an ICMP error where an RFC asks for one. Cold, one at a
// time.
//
// The frame itself is dropped and counted under its reason. The ICMP error is a frame of its own, generated
// here. It quotes the refused frame as its sender knows it: refusals come before translation, or translation
// is undone first. It leaves by the port that the frame came from, to the sender's MAC, from the gateway's
// address to a VM and from the external address to a remote.
//
//   TTL expired                    11/0  time exceeded                      RFC 1812 5.3.1
//   above the egress MTU            3/4  fragmentation needed, the MTU      RFC 1191 3
//   UDP to an external address      3/3  port unreachable                   RFC 1122 4.1.3.1
//   no such service at the gateway, or none that the host has open to VMs
//                                   3/3, 3/2 for a protocol without ports   RFC 1122 3.2.2.1
//   beyond the uplink's network, and no gateway leads there
//                                   3/0  net unreachable                    RFC 1812 5.2.7.1
//   for a VM, or a host or the router on the uplink's link, that answers no ARP
//                                   3/1  host unreachable                   RFC 1812 5.2.7.1
//   to another network, or from an isolated one, or a rule rejects it, but for TCP
//                                   3/13 administratively prohibited        RFC 1812 5.2.7.1
//   TCP that a rule rejects         RST
//   a VM's TCP of no connection     RST, where the network says so          RFC 9293 3.10.7.1 (tcp_reset.h)
//   no port or session left         3/13, or 3/1 by nat.exhaustion_icmp     RFC 5508 REQ-8, RFC 6888 REQ-11
//
// Everything else is refused in silence. So are frames that may cause no error (RFC 1122 3.2.2): an ICMP
// error, a later fragment, a group address as destination, a source that is not one host; and frames over the
// rate limits of the port and of the worker. Exhaustion is noted with its remote (refused_remotes.h).
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// The reason to drop a frame that conntrack has opened no session for.
[[gnu::cold]] DropReason reason_of(conntrack::Verdict verdict);

// Ends frame i of the burst, which parse has found to be IPv4.
[[gnu::cold]] void refuse(Context& context, const Burst& burst, unsigned i, DropReason reason);

}  // namespace vmnat::dataplane
