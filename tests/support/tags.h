// SPDX-License-Identifier: Apache-2.0
// Frames within VLAN tags, and within whatever else stands behind their addresses.
#pragma once

#include <vector>

#include "tests/support/packet_builder.h"

namespace vmnat::test {

inline constexpr std::size_t kAddresses = 12;  // bytes of the two MAC addresses

// Tags as bytes, the outermost first: {0x81, 0, 0, 7} is VLAN 7.
inline Bytes tagged(const Bytes& frame, const std::vector<unsigned>& tags) {
  Bytes result(frame.begin(), frame.begin() + kAddresses);
  const Bytes between = as_bytes(tags);
  result.insert(result.end(), between.begin(), between.end());
  result.insert(result.end(), frame.begin() + kAddresses, frame.end());
  return result;
}

// One tag: the number with its priority, and the tag's own type.
inline Bytes tagged(const Bytes& frame, unsigned control, unsigned type = 0x8100) {
  return tagged(frame, {type >> 8, type & 0xff, control >> 8, control & 0xff});
}

}  // namespace vmnat::test
