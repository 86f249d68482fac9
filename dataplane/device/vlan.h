// SPDX-License-Identifier: Apache-2.0
// A frame's outermost VLAN tag (IEEE 802.1Q), which lies in the frame, or beside it where a device has taken it off.
//
// A port that is one VLAN of its device is told of untagged frames alone: the worker takes the tag off what arrives
// (Worker::receive), and what leaves gets it last (Transmitter), so that no step between them knows of it.
#pragma once

#include <cstdint>
#include <optional>
#include <rte_mbuf.h>

namespace vmnat::dataplane {

inline constexpr std::uint16_t kNoVlan = 0;  // a tag of it says a priority alone

// Its number, kNoVlan for a tag that carries a priority alone; nothing without a tag.
[[nodiscard]] std::optional<std::uint16_t> vlan_of(const rte_mbuf* frame);
// Of a frame that has one.
void remove_tag(rte_mbuf* frame);
// Outermost, with priority 0. False without a buffer: the frame is unchanged, or another with the same bytes.
[[nodiscard]] bool add_tag(rte_mbuf*& frame, std::uint16_t vlan);

}  // namespace vmnat::dataplane
