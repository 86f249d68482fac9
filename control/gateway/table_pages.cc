// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/table_pages.h"

#include <cerrno>
#include <spdlog/spdlog.h>
#include <system_error>

namespace vmnat::control {

TablePages::TablePages(std::span<const conntrack::Conntrack* const> tables) {
  for (const conntrack::Conntrack* table : tables) tables_.emplace_back(*table);
}

bool TablePages::populate(Clock::duration time) {
  const Clock::time_point start = Clock::now();
  if (start < rests_until_) return false;
  for (std::size_t at_rest = 0; at_rest < tables_.size();) {
    int error = 0;
    const bool has_stepped = tables_[next_].step(error);
    next_ = next_ + 1 == tables_.size() ? 0 : next_ + 1;
    if (error != 0) {
      tell_refusal(error);
      return false;
    }
    if (has_stepped && Clock::now() - start >= time) return true;
    at_rest = has_stepped ? 0 : at_rest + 1;
  }
  return false;
}

void TablePages::tell_refusal(int error) {
  rests_until_ = Clock::now() + std::chrono::seconds(1);
  if (has_told_) return;
  has_told_ = true;
  if (error == EFAULT) {  // madvise(2): a touch would raise SIGBUS
    spdlog::warn(
        "no memory is left on the file system of the session records: sessions that open from now on may not "
        "survive a restart");
    return;
  }
  spdlog::warn(
      "pages of session tables cannot be populated ahead ({}; Linux can since 5.14): a burst of new sessions "
      "may lose frames while a worker touches them",
      std::generic_category().message(error));
}

}  // namespace vmnat::control
