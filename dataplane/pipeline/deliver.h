// SPDX-License-Identifier: Apache-2.0
// Deliver: the translated frame gets its link-layer addresses and its way out.
//
// Outbound to the next hop's MAC by the uplink (or to control, which resolves it by ARP and sends the
// frame on); inbound to the VM's MAC by its port. The sending itself is transmit's.
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

void deliver_outbound(Context& context, const Burst& burst);
void deliver_inbound(Context& context, const Burst& burst);

}  // namespace vmnat::dataplane
