// SPDX-License-Identifier: Apache-2.0
// TablePages: control gives the session tables their pages before the workers need them.
//
// A bounded time at each tick of control, in steps of 2 MiB, the workers in turn (conntrack/look_ahead.h says
// how far). Example: at 3 M new sessions a second a worker uses 1.5 MiB in a tick of 8 ms, and a step takes
// 0.3 ms; where the host has to find the memory 5 ms, which is one step for each tick of 2 ms.
#pragma once

#include <chrono>
#include <span>
#include <vector>

#include "conntrack/look_ahead.h"

namespace vmnat::control {

class TablePages {
 public:
  using Clock = std::chrono::steady_clock;

  // `tables` outlive it.
  explicit TablePages(std::span<const conntrack::Conntrack* const> tables);

  // Works until the time given is over, at least one step, or nothing is left to do. True: there may be more.
  // After a refusal of the system, which is logged once, it rests for a second.
  bool populate(Clock::duration time);

 private:
  void tell_refusal(int error);

  std::vector<conntrack::LookAhead> tables_;
  std::size_t next_ = 0;  // whose turn it is
  Clock::time_point rests_until_{};
  bool has_told_ = false;
};

}  // namespace vmnat::control
