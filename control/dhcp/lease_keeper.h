// SPDX-License-Identifier: Apache-2.0
// LeaseKeeper: one network's leases on stable storage, as far as the disk takes them.
//
// Leases are on the disk when `keep` returns. When the disk does not take them (it is full, read-only, or the
// directory is missing), DHCP goes on from memory, as dnsmasq does: otherwise VMs would lose the addresses
// that they have. The changes wait here, the last one of each address, and are written once the disk takes
// them; until then `problem()` says that they would not survive a restart. Example: /var is full from 14:00
// to 14:10. A lease renewed at 14:05 stands in the journal with its former end, and a lease given at 14:05 is
// not in it; at 14:10 both are written. A restart in between loses these changes and nothing else.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/dhcp/lease_store.h"

namespace vmnat::control {

class LeaseKeeper {
 public:
  // `what`: how log lines and `problem` name these leases.
  LeaseKeeper(std::string path, std::string what) : path_(std::move(path)), what_(std::move(what)) {}

  // The leases of before the restart; none when they cannot be read.
  std::vector<dhcp::Lease> open(dhcp::WallTime wall, SteadyTime now);
  // While some changes wait, new ones do too: of several records the last one in the journal counts.
  void keep(std::span<const dhcp::Lease> changes, dhcp::WallTime wall, SteadyTime now);
  // Tries again what waits.
  void advance(dhcp::WallTime wall, SteadyTime now);
  [[nodiscard]] bool wants_compaction(SteadyTime now) const {
    return store_ && waiting_.empty() && now >= next_compaction_ && store_->wants_compaction();
  }
  // All that the server has. The journal as it is stays good when this fails.
  void compact(std::span<const dhcp::Lease> leases, SteadyTime now);

  // A sentence; empty: all is kept.
  [[nodiscard]] std::string problem() const;
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }
  [[nodiscard]] std::uint64_t failures() const { return failures_; }

 private:
  void note_failure(const Error& error, dhcp::WallTime wall, SteadyTime now);
  bool write(std::span<const dhcp::Lease> leases, dhcp::WallTime wall, SteadyTime now);

  std::string path_;
  std::string what_;
  std::optional<LeaseStore> store_;
  std::map<net::Ipv4Addr, dhcp::Lease> waiting_;  // for room on the disk
  std::string error_;                             // of the last try; empty: none
  dhcp::WallTime failing_since_{};
  SteadyTime next_try_{}, next_line_{}, next_compaction_{};
  std::uint64_t failures_ = 0;
};

}  // namespace vmnat::control
