// SPDX-License-Identifier: Apache-2.0
// LookAhead: gives pages to a worker's tables before the worker touches them.
//
// The first touch of a 2 MiB page zeroes it: 0.27 ms, in which 800 frames come at 3 Mpps, and 5 ms in a VM
// whose host has to find the memory. So another thread does it, `step` by step, as far as the tables say that
// they will be touched soon (Conntrack::touched_soon). A million sessions' table, by what has been opened:
//
//   nothing yet       8 MiB of records, 18 of their index, 10 of the mappings' index, 2 of slots
//   300 000 sessions  18 MiB of records used, 8 ahead: a new page for each 32 768 more
//
// A worker that is faster than the look-ahead touches the page itself. Nothing is ever taken back.
//
// Threads: control's, for tables whose worker runs; the kernel gives a page once, to whoever comes first.
#pragma once

#include "conntrack/conntrack.h"

namespace vmnat::conntrack {

class LookAhead {
 public:
  static constexpr std::size_t kStep = 2u << 20;  // bytes populated at a time at most

  // `table` outlives it.
  explicit LookAhead(const Conntrack& table) : table_(&table) {}

  // Populates the next step. False: nothing is left to do at present, or the system refuses, which
  // `error` is told (else 0).
  bool step(int& error);

 private:
  const Conntrack* table_;
  std::array<std::size_t, Conntrack::kExtents> populated_{};  // bytes, from each extent's start
};

}  // namespace vmnat::conntrack
