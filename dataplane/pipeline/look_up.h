// SPDX-License-Identifier: Apache-2.0
// Look up: the session of every frame in the burst, by its key, in either direction from one table.
//
// Steering comes first: with several workers a session lives on one of them, and frames that arrived
// elsewhere cross on a ring. Misses are the rare case and go one by one to new_flow. What stays in the
// burst has a session and may be forwarded (TTL, MTU).
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// Hands frames over to the workers that own their sessions. A single worker owns all.
template <Direction direction>
void steer(Context& context, Burst& burst);

// The worker of all sessions of a VM's endpoint: the one that polls its port; of a port with several queues,
// which may bring one endpoint's flows to several workers, one by a hash of the endpoint, so that they share
// a mapping (RFC 4787 REQ-1).
WorkerIndex inside_owner(const Context& context, PortIndex port, net::Endpoint internal);

// The worker of the session whose key from outside this is.
WorkerIndex outside_owner(const Context& context, const FlowKey& key);

// Hands one frame over to that worker.
void hand_over(Context& context, rte_mbuf* frame, PortIndex from, WorkerIndex owner,
               FrameNote::Errand errand);
template <Direction direction>
void hand_over(Context& context, rte_mbuf* frame, PortIndex from, WorkerIndex owner);

template <Direction direction>
void look_up(Context& context, Burst& burst);

extern template void steer<Direction::Outbound>(Context&, Burst&);
extern template void steer<Direction::Inbound>(Context&, Burst&);
extern template void hand_over<Direction::Outbound>(Context&, rte_mbuf*, PortIndex, WorkerIndex);
extern template void hand_over<Direction::Inbound>(Context&, rte_mbuf*, PortIndex, WorkerIndex);
extern template void look_up<Direction::Outbound>(Context&, Burst&);
extern template void look_up<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
