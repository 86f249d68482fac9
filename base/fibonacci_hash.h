// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace vmnat {

// Fibonacci hashing (Knuth, volume 3, 6.4): spreads words that differ in few bits. It is no secret: whoever
// chooses the words chooses the hashes.
constexpr std::uint32_t fibonacci_hash(std::uint64_t word) {
  return static_cast<std::uint32_t>(word * 0x9e37'79b9'7f4a'7c15u >> 32);
}

// A number below `bound`, each for an even part of the hashes.
constexpr std::uint32_t scaled_below(std::uint32_t bound, std::uint32_t hash) {
  return static_cast<std::uint32_t>(std::uint64_t{hash} * bound >> 32);
}
static_assert(scaled_below(3, 0) == 0 && scaled_below(3, 0x8000'0000) == 1 &&
              scaled_below(3, 0xffff'ffff) == 2);

}  // namespace vmnat
