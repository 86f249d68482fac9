// SPDX-License-Identifier: Apache-2.0
// Inbound flow: what becomes of a frame from the uplink, or by hairpin, that has no session. Cold, one frame
// at a time.
//
// Only replies come in (RFC 4787 REQ-8), unless the network's filtering or a forward says otherwise. With
// address-dependent filtering a remote that the mapping has sent to may answer from any port; with
// endpoint-independent filtering every remote may send. Control resolves the VM's MAC if need be, and gives
// the frame back. A forward is an external endpoint that the configuration gives to a VM. Example,
// `{protocol: tcp, port: 8080, to: .10:80}`:
//
//   198.51.100.7:4000 -> 203.0.113.2:8080   opens   198.51.100.7:4000 -> 192.168.122.10:80
//
// An external address that is a VM's alone (nat.static) leads to the VM with all protocols and ports, the port
// unchanged; echo requests are the VM's to answer, too.
//
// A VM of a network that is routed is reached by its own address, and control may be asked for its MAC.
//
// Forwarded ports are reserved: no other VM's flows get them. A flow that the forward's VM opens from the
// internal endpoint leaves by the external one (RFC 4787 REQ-1), and shares one session with that remote's
// flow to the forward. The session belongs to the worker of the VM's endpoint, so that the VM's replies find
// it; with several workers, a frame that steering has brought to the holder of the port's block
// crosses once more.
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// The session for frame i of the burst, opened if policy allows. nullptr: the frame has ended, answered,
// punted, handed over to the forward's worker, or dropped with the reason.
[[gnu::cold]] Session* open_inbound_flow(Context& context, Burst& burst, unsigned i);

}  // namespace vmnat::dataplane
