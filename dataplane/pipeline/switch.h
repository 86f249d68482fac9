// SPDX-License-Identifier: Apache-2.0
// Switch: the link layer's decision. A network is one Ethernet segment of VM ports and the gateway.
//
// From a VM: a frame for the gateway's MAC stays in the burst, to be routed; one for another VM goes to
// the port where that MAC was learned; broadcast, multicast and unknown MACs are flooded. What the gateway
// itself is asked by broadcast (ARP, DHCP) is answered or punted here. A frame whose sender is somebody else
// ends before that (guard.h), and so does what bridges keep to themselves (STP, LLDP, PAUSE, ...), from
// whatever port. Where ports are isolated, nothing goes from one to another.
// From the uplink: only what is sent to our MAC stays; ARP is answered or punted.
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

void switch_inside(Context& context, Burst& burst);
void accept_uplink(Context& context, Burst& burst);

}  // namespace vmnat::dataplane
