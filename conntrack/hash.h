// SPDX-License-Identifier: Apache-2.0
// FlowHash: the seeded hash of a flow key.
//
// A VM chooses its 5-tuples freely and must not be able to choose their buckets, so the seed is secret and
// enters before anything is mixed: two 64 x 64 -> 128 bit multiplications, each folded by xor. A CRC would
// be cheaper but is linear: two keys that collide under one seed collide under every seed.
#pragma once

#include <array>
#include <cstdint>

#include "base/random.h"
#include "conntrack/flow_key.h"

namespace vmnat::conntrack {

class FlowHash {
 public:
  explicit constexpr FlowHash(std::uint64_t seed) {
    Random random(seed);
    for (auto& word : secret_) word = random.next();
    secret_[3] |= 1;
  }
  constexpr std::uint64_t operator()(const FlowKey& key) const {
    return folded_product(folded_product(key.remote ^ secret_[0], key.local ^ secret_[1]) ^ secret_[2],
                          secret_[3]);
  }

 private:
  __extension__ using Wide = unsigned __int128;
  static constexpr std::uint64_t folded_product(std::uint64_t a, std::uint64_t b) {
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }

  std::array<std::uint64_t, 4> secret_{};
};

}  // namespace vmnat::conntrack
