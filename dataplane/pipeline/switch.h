// SPDX-License-Identifier: Apache-2.0
// Switch: the link layer's decision. A network is one Ethernet segment of VM ports and the gateway.
//
// From a VM: a frame for the gateway's MAC stays in the burst, to be routed. A frame for another VM goes to
// the port where that MAC was learned; broadcast, multicast and unknown MACs are flooded. ARP and DHCP
// requests to the gateway by broadcast are answered or punted here. A frame with a spoofed sender is dropped
// before that (guard.h), and so are frames between bridges (STP, LLDP, PAUSE, ...) from any port. No frame
// goes from one group of ports to another; an isolated port is a group of its own. From the uplink: a
// frame for our MAC stays; ARP is answered or punted.
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

void switch_inside(Context& context, Burst& burst);
void accept_uplink(Context& context, Burst& burst);

// To the VM that has the frame's destination, or to all of the network, whatever their groups and rules are.
void send_from_host(Context& context, const Network& network, rte_mbuf* frame, PortIndex from);

}  // namespace vmnat::dataplane
