// SPDX-License-Identifier: Apache-2.0
#include "conntrack/look_ahead.h"

#include <algorithm>

namespace vmnat::conntrack {

bool LookAhead::step(int& error) {
  error = 0;
  const auto extents = table_->touched_soon();
  for (unsigned i = 0; i < extents.size(); ++i) {
    if (populated_[i] >= extents[i].soon) continue;
    const std::size_t bytes = std::min(kStep, extents[i].bytes - populated_[i]);
    error = populate_pages(extents[i].start + populated_[i], bytes);
    if (error != 0) return false;
    populated_[i] += bytes;
    return true;
  }
  return false;
}

}  // namespace vmnat::conntrack
