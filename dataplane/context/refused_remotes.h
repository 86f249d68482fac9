// SPDX-License-Identifier: Apache-2.0
// RefusedRemotes: the remotes towards which most sessions were refused for exhaustion (no port, table full,
// over a limit), and how often; in bounded space.
//
// Space-Saving (Metwally, Agrawal, El Abbadi 2005): a remote without a row takes that of the least one, with
// its count, which may then be too high by `excess`. A remote with more than 1/16 of all refusals always has
// a row. Example of a full sketch whose least row is (B, 5): C comes and is (C, 6, excess 5).
//
// Written by one worker, in refusals alone; any thread reads it whole and waits for no one.
#pragma once

#include <array>
#include <atomic>

#include "base/ids.h"
#include "conntrack/session.h"
#include "dataplane/frame/drop_reasons.h"
#include "net/address.h"

namespace vmnat::dataplane {

// True when policy would have allowed a session, and none was left.
constexpr bool is_exhaustion(DropReason reason) {
  return reason == DropReason::NoPort || reason == DropReason::SessionTableFull ||
         reason == DropReason::SessionLimit || reason == DropReason::SessionRate;
}

class RefusedRemotes {
 public:
  static constexpr unsigned kRows = 16;
  struct Row {
    net::Ipv4Addr remote;
    PortIndex port = 0;       // the last refused frame came from it
    DropReason cause{};       // of the last refusal
    std::uint64_t count = 0;  // 0: the row is free
    std::uint64_t excess = 0;
  };
  struct Copy {
    std::array<Row, kRows> rows;
    Row latest;  // its count: all refusals
  };

  // The owning worker.
  [[gnu::cold]] void note(net::Ipv4Addr remote, PortIndex port, DropReason cause);

  // Any thread.
  [[nodiscard]] Copy copied() const;

 private:
  // | remote 32 | port 16 | cause 8 |, count, excess
  using Words = std::array<std::atomic<std::uint64_t>, 3>;
  static Row row_of(const Words& words);
  static void write(Words& words, std::uint64_t who, std::uint64_t count, std::uint64_t excess);
  Words& row_for(net::Ipv4Addr remote);

  std::atomic<std::uint64_t> sequence_{0};  // odd while the worker writes
  std::array<Words, kRows> rows_{};
  Words latest_{};
};

}  // namespace vmnat::dataplane
