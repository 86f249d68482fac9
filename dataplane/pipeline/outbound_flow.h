// SPDX-License-Identifier: Apache-2.0
// Outbound flow: what becomes of a VM's frame that has no session. Cold, one frame at a time.
//
// The policy of outbound traffic is here, as a list of refusals; what passes all of them opens a session.
#pragma once

#include "dataplane/context/context.h"

namespace vmnat::dataplane {

// The session for frame i of the burst, opened if policy allows. nullptr: the frame has ended, answered by
// the gateway, punted, or dropped with the reason.
[[gnu::cold]] Session* open_outbound_flow(Context& context, Burst& burst, unsigned i);

}  // namespace vmnat::dataplane
