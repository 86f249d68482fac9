// SPDX-License-Identifier: Apache-2.0
// Inbound flow: what becomes of a frame from the uplink, or by hairpin, that has no session. Cold, one frame
// at a time.
//
// Only replies come in (RFC 4787 REQ-8), unless the network's filtering or a forward says otherwise. With
// address-dependent filtering every port of a remote may send to a mapping that it was sent to from, with
// endpoint-independent filtering everybody; the VM's place is asked of control, which resolves it and gives
// the frame back. A forward is an external endpoint that the configuration gives to a VM. Example,
// `{protocol: tcp, port: 8080, to: .10:80}`:
//
//   198.51.100.7:4000 -> 203.0.113.2:8080   opens   198.51.100.7:4000 -> 192.168.122.10:80
//
// Forwarded ports are reserved: no other VM's flows are given them. What the forward's VM itself opens from
// the internal endpoint leaves by the external one (RFC 4787 REQ-1), and is one session with what that remote
// sends to the forward. The session lives on the worker of the VM's endpoint, so that the VM's answers find
// it; with several workers, frames that steering has brought to the holder of the port's block cross
// once more.
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// The session for frame i of the burst, opened if policy allows. nullptr: the frame has ended, answered,
// punted, handed over to the forward's worker, or dropped with the reason.
[[gnu::cold]] Session* open_inbound_flow(Context& context, Burst& burst, unsigned i);

}  // namespace vmnat::dataplane
