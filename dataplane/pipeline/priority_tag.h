// SPDX-License-Identifier: Apache-2.0
// A tag of VLAN 0 carries a priority and no VLAN (IEEE 802.1Q: priority-tagged): its frame is read as
// untagged, by whatever device it came. The priority is not passed on: no way out of here is tagged.
#pragma once

#include <rte_mbuf.h>

namespace vmnat::dataplane {

// Takes such tags off, outermost first, in the frame or beside it. False: there is none, the frame is as it
// was.
[[gnu::cold]] bool remove_priority_tags(rte_mbuf* frame);

}  // namespace vmnat::dataplane
