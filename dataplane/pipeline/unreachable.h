// SPDX-License-Identifier: Apache-2.0
// Unreachable: the end of frames that nothing leads on, told to their senders. Cold.
//
//   a VM's, translated, for the uplink      no route, no ARP reply of the next hop, or no address any more
//   a remote's or by hairpin, for a VM      no ARP reply of the VM
//
// The note says why. An ICMP error quotes a frame as its sender knows it, so a VM's frame is given back the
// addresses and ports that it had; its session, found by its external key, says which. The session may be
// another worker's when control has had the frame.
#pragma once

#include "base/ids.h"
#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// The burst is parsed, and used up.
template <Direction direction>
[[gnu::cold]] void end_unreachable(Context& context, Burst& burst);

extern template void end_unreachable<Direction::Outbound>(Context&, Burst&);
extern template void end_unreachable<Direction::Inbound>(Context&, Burst&);

}  // namespace vmnat::dataplane
