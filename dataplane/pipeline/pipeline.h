// SPDX-License-Identifier: Apache-2.0
// A packet's way, step by step; one file a step, each step over the whole burst.
//
// clang-format off
//              VM port                                         uplink
//                 |                                               |
//   parse         |  bytes -> ParsedPacket + FlowKey              |            parse.h
//   switch        |  to another VM, flood, or for us: go on       |  for us?   switch.h
//   collect       |  fragments only: the first decides, the others follow it       fragments.h (cold)
//   steer         |      (several workers) to the owner of the session         steer.h
//   look up       |               session by key                  |            look_up.h
//   new flow      |  no session: policy, address, port, rewrite   |  forward, filter, refuse   (cold)
//                 |                                               |            outbound_flow.h, inbound_flow.h
//   translate     |      addresses, ports, checksums, TTL, TCP state           translate.h
//   cut           |  what is too big for its way out              |            oversize.h (cold)
//   GRO           |                                               |  TCP segments -> one frame, for guests
//                 |                                               |  that take it    gro.h
//   deliver       |  next hop's MAC -> uplink                     |  VM's MAC  deliver.h
//   transmit      v      per-port buffers, one tx burst a port and poll        transmit.h
// clang-format on
//
// Beside the way: offload.h (what guests leave to the device), local.h (ARP and ping answered in place),
// icmp_error.h (errors of others, translated by the packet that they quote), refuse.h (our own ICMP errors),
// hairpin.h (out and in again), and the punt ring to the control thread. Frames leave the burst where they
// end; every end is counted (drop_reasons.h, counters.h).
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// `burst` holds frames just received from one port (VM port or uplink); it is used up.
void run_outbound(Context& context, Burst& burst);
void run_inbound(Context& context, Burst& burst);

// What follows switching: for fragments that have waited, too.
void route_outbound(Context& context, Burst& burst);
void route_inbound(Context& context, Burst& burst);

// The rest of it for frames that another worker received and handed over, or control gives back.
void resume(Context& context, Burst& burst, FrameNote::Errand errand);

}  // namespace vmnat::dataplane
