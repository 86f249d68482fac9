// SPDX-License-Identifier: Apache-2.0
// A packet's way, step by step: one file a step, each step over the whole burst. pipeline.cc is this table.
//
//               VM port                               uplink                           file
//   parse       bytes -> ParsedPacket, FlowKey        the same                         parse.h
//   switch      to the gateway: on; to VMs: sent      to our MAC: on                   switch.h, guard.h
//     the host's                                                                       host.h
//     by rules                                                                         peers.h
//   fragments   together at one worker, where each gets its datagram's key or waits    fragments.h (cold)
//   steer       with several workers, to the owner of the session                      steer.h
//   look up     the session by its key; TTL, size     the same                         look_up.h
//     missing   policy, rules, address, port          forward, filter, rules           outbound_flow.h,
//                                                                                      inbound_flow.h,
//                                                                                      rules.h (cold)
//   translate   address, port, checksums, TTL, TCP state; the MSS of a SYN             translate.h
//     fragments the datagram's new number                                              fragments.h (cold)
//   cut         frames above the egress MTU           the same                         oversize.h (cold)
//   merge                                             TCP, for guests that take it     gro.h
//   deliver     MAC of the next hop                   MAC of the VM                    deliver.h
//   transmit    a buffer for each port; one transmit burst a port and poll             transmit.h
//
// A burst with a frame to be cut is not merged. Frames leave the burst where they end, and every end is
// counted (drop_reasons.h, counters.h). The ends beside the way are in detours/: answers in place, refusals
// with their ICMP errors, errors of others, hairpins.
//
// A frame that has to pass through steps again carries an errand (FrameNote), which says where it enters:
//
//   RouteOutbound, RouteInbound         fragments   from the worker that received it; a hairpin: RouteInbound
//   ReleasedOutbound, ReleasedInbound   fragments   a fragment that has waited, and whose key is known now
//   Outbound, Inbound                   look up     from the worker that received it, or from control
//   ToPeer                              peers.h ends it after parse, at another VM or refused
//   ToHost                              host.h ends it after parse, at the host or refused
//   Unreachable                         unreachable.h ends it after parse, with an ICMP error (cold)
//   Transmit                            transmit    from the worker that received it, or made by control
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// A burst of frames just received from VMs' ports, or from an uplink. Afterwards it is used up, and what it has queued
// has been carried out.
void run_outbound(Context& context, Burst& burst);
void run_inbound(Context& context, Burst& burst);

// Carries out the errands of frames that another worker hands over or control gives back. The burst is room
// to work in.
void run_errands(Context& context, Burst& burst, rte_mbuf* const* frames, unsigned count);

}  // namespace vmnat::dataplane
