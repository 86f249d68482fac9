// SPDX-License-Identifier: Apache-2.0
// Announcement: the frame that tells a network where a VM is, sent for its VMM: an RARP request (RFC 903) for
// the VM's own address, by broadcast, from its MAC. Nobody answers it; bridges on the way learn the MAC.
#pragma once

#include <cstdint>
#include <rte_mbuf.h>

namespace vmnat::dataplane {

// `mac` is a MacAddr's word. nullptr without a buffer.
[[gnu::cold]] rte_mbuf* make_announcement(rte_mempool* pool, std::uint64_t mac);

}  // namespace vmnat::dataplane
