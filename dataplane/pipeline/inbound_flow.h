// SPDX-License-Identifier: Apache-2.0
// Inbound flow: what becomes of a frame from the uplink without a session. Cold, one frame at a time; the
// function itself, session_after_miss<Direction::Inbound>, is declared in outbound_flow.h.
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

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// An address that a frame from the uplink may come from: one host, neither inside nor ours.
bool is_credible_remote(const Context& context, net::Ipv4Addr remote);

// The worker that has the sessions of a forward; the calling one while nobody knows where the VM is.
WorkerIndex forward_owner(const Context& context, const Forward& forward);

}  // namespace vmnat::dataplane
