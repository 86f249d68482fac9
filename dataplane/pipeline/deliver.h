// SPDX-License-Identifier: Apache-2.0
// Deliver: the translated frame gets its link-layer addresses, and goes to the transmitter of its port.
//
// Outbound frames leave by the uplink that their network is on, to the next hop's MAC; while that is unknown they
// are punted to control, which resolves it by ARP and sends the frame on. One for an external address of ours turns
// round (hairpin.h). Inbound frames leave by the VM's port to its MAC.
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

void deliver_outbound(Context& context, const Burst& burst);
void deliver_inbound(Context& context, const Burst& burst);

}  // namespace vmnat::dataplane
