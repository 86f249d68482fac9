// SPDX-License-Identifier: Apache-2.0
#include "control/dhcp/lease_keeper.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "control/system/rfc3339.h"

namespace vmnat::control {
namespace {

constexpr std::chrono::seconds kTryAgain{1};
constexpr std::chrono::minutes kSayAgain{1};
constexpr std::chrono::minutes kCompactAgain{1};

}  // namespace

std::vector<dhcp::Lease> LeaseKeeper::open(dhcp::WallTime wall, SteadyTime now) {
  auto store = LeaseStore::open(path_);
  if (!store) {
    note_failure(store.error(), wall, now);
    return {};
  }
  store_ = std::move(*store);
  if (store_->damaged_bytes() != 0)
    spdlog::warn("journal of {}: {} damaged bytes left out", what_, store_->damaged_bytes());
  return store_->found();
}

void LeaseKeeper::keep(std::span<const dhcp::Lease> changes, dhcp::WallTime wall, SteadyTime now) {
  if (changes.empty()) return;
  if (store_ && waiting_.empty() && write(changes, wall, now)) return;
  for (const dhcp::Lease& lease : changes) waiting_.insert_or_assign(lease.address, lease);
}

void LeaseKeeper::advance(dhcp::WallTime wall, SteadyTime now) {
  if (error_.empty() || now < next_try_) return;
  if (!store_) open(wall, now);
  if (!store_) return;
  std::vector<dhcp::Lease> leases;
  for (const auto& [address, lease] : waiting_) leases.push_back(lease);
  if (!write(leases, wall, now)) return;
  spdlog::info("{} are kept again: {} that waited are written", what_, leases.size());
  waiting_.clear();
  error_.clear();
}

bool LeaseKeeper::write(std::span<const dhcp::Lease> leases, dhcp::WallTime wall, SteadyTime now) {
  const auto begun = std::chrono::steady_clock::now();
  const auto written = store_->append(leases);
  if (written) return true;
  note_failure(written.error(), wall, now);
  next_try_ = next_turn(begun, now, kTryAgain);
  return false;
}

void LeaseKeeper::note_failure(const Error& error, dhcp::WallTime wall, SteadyTime now) {
  ++failures_;
  if (error_.empty()) failing_since_ = wall;
  const bool is_news = error_ != to_string(error);
  error_ = to_string(error);
  next_try_ = now + kTryAgain;
  if (!is_news && now < next_line_) return;
  next_line_ = now + kSayAgain;
  spdlog::error("{}", problem());
}

void LeaseKeeper::compact(std::span<const dhcp::Lease> leases, SteadyTime now) {
  const auto written = store_->compact(leases);
  if (written) return;
  next_compaction_ = now + kCompactAgain;
  spdlog::warn("the journal of {} grows on: {}", what_, to_string(written.error()));
}

std::string LeaseKeeper::problem() const {
  if (error_.empty()) return {};
  return fmt::format("{} given or changed since {} will not survive a restart: {}", what_,
                     rfc3339(failing_since_), error_);
}

}  // namespace vmnat::control
