// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace vmnat {

// Fibonacci hashing: the key times 2^64 divided by the golden ratio. The high bits are spread evenly, also
// for keys that differ in few bits; who can choose keys can choose their hashes, too (conntrack/hash.h).
constexpr std::uint64_t fibonacci_hash(std::uint64_t key) {
  return key * 0x9e37'79b9'7f4a'7c15;
}

}  // namespace vmnat
