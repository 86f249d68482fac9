// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace vmnat {

// std::hardware_destructive_interference_size is what the compiler was built for, and warns in a header.
inline constexpr std::size_t kCacheLineSize = 64;

}  // namespace vmnat
