// SPDX-License-Identifier: Apache-2.0
// Priority tags: a tag of VLAN 0 carries a priority and no VLAN (IEEE 802.1Q), so its frame is read as
// untagged, whatever device it came by. The priority is not passed on: frames leave untagged.
#pragma once

#include <rte_mbuf.h>

namespace vmnat::dataplane {

// Removes such tags, outermost first, in the frame or beside it. False: there was none; the frame is
// unchanged.
[[gnu::cold]] bool remove_priority_tags(rte_mbuf* frame);

}  // namespace vmnat::dataplane
