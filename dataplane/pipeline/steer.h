// SPDX-License-Identifier: Apache-2.0
// Steer: with several workers, a frame goes to the one that owns its session.
//
// All sessions of a VM's endpoint have one owner, so that they share a mapping (RFC 4787 REQ-1): the worker
// that polls the VM's port. A port with several queues may bring one endpoint's flows to several workers;
// there the owner is chosen by a hash of the endpoint. Seen from outside, the owner is the worker that holds
// the external port, or the one that owns the endpoint which a forward leads to. Example, 2 workers, worker 0
// polls vm1:
//
//   192.168.122.10:40000 > 198.51.100.7:80     worker 0: it polls the port, and holds 203.0.113.2:40000
//   198.51.100.7:80 > 203.0.113.2:40000        worker 0, whichever of its queues the NIC has chosen
//
// A frame that arrived at another worker crosses on a ring (rings.h), and goes on with the look-up there.
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// Hands over the frames of other owners.
template <Direction direction>
void steer(Context& context, Burst& burst);

// The owner of all sessions of a VM's endpoint.
WorkerIndex inside_owner(const Context& context, PortIndex port, net::Endpoint internal);

// Whether anybody knows where the VM is, or that it is not there.
bool is_place_known(const Context& context, const Forward& forward);

// The owner of all sessions of a forward; the calling worker while nobody knows where the VM is.
WorkerIndex forward_owner(const Context& context, const Forward& forward);

// The owner of the session that frames from outside find by this key.
WorkerIndex outside_owner(const Context& context, const FlowKey& key);

// Hands one frame over to another worker, which carries out the errand.
void hand_over(Context& context, rte_mbuf* frame, PortIndex from, WorkerIndex owner,
               FrameNote::Errand errand);

extern template void steer<Direction::Outbound>(Context&, Burst&);
extern template void steer<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
