// SPDX-License-Identifier: Apache-2.0
// Peers: frames from one VM to another of its network, where rules say something of either. All else between VMs is
// sent by the switch as it is.
//
//   ARP                                  passes
//   of a flow that one of the two has begun by rules, and ICMP errors about it   passes (peer_flows.h)
//   else IPv4                            passes if the sender's rules let it out and the receiver's let it in
//   what is no IPv4, or is malformed     the same, by rules that ask for nothing but a peer
//   a later fragment                     passes behind its datagram's first
//
// A frame for a group, or for a MAC that the switch does not know, is nobody's flow: each VM gets its copy if its rules
// accept such a frame.
//
// Frames between two ports cross the worker that polls the one with the lower number, which has their flows.
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// Ends frame i, which is for the VM at this port: there, refused, or on its way to the owner of their flows.
void pass_to_peer(Context& context, Burst& burst, unsigned i, PortIndex to);

// The errands of such frames, at that worker.
void end_at_peer(Context& context, Burst& burst);

// False: the sender's rules do not let out frame i, which is for more than one VM; it has ended.
bool is_let_out(Context& context, Burst& burst, unsigned i);
// Whether the rules of this port accept a copy of it.
bool is_copy_let_in(Context& context, const Burst& burst, unsigned i, PortIndex to);

}  // namespace vmnat::dataplane
