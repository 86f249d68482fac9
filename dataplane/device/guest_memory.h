// SPDX-License-Identifier: Apache-2.0
// GuestMemory: where a guest's memory is mapped here. Guests name addresses of their own; an address outside
// of their memory is not found.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmnat::dataplane {

struct GuestMemory {
  static constexpr unsigned kMostRegions = 8;  // librte_vhost's bound
  struct Region {
    std::uint64_t address = 0;  // the guest's
    std::uint64_t bytes = 0;
    std::byte* here = nullptr;
  };

  // Where the address is here, and how many bytes from there on are in one piece: 0 for an unknown address.
  std::byte* find(std::uint64_t address, std::uint64_t& bytes) const {
    for (unsigned i = 0; i < count; ++i) {
      const std::uint64_t offset = address - regions[i].address;
      if (offset >= regions[i].bytes) continue;
      bytes = regions[i].bytes - offset;
      return regions[i].here + offset;
    }
    bytes = 0;
    return nullptr;
  }

  std::array<Region, kMostRegions> regions{};
  unsigned count = 0;
};

}  // namespace vmnat::dataplane
