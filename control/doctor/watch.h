// SPDX-License-Identifier: Apache-2.0
// Watch: what the doctor has to have seen before it is asked: since when a port is as it is, what was counted lately,
// and whether the wall clock has jumped.
//
//   look()        once a second, on control's thread
//   lately        since the look before the last whole minute: one to two minutes
//   a jump        the wall clock has gone on by half a second more or less than the steady one between two looks
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "control/doctor/live_facts.h"

namespace vmnat::doctor {

// What look() is told of a port; by number, and empty where there is none.
struct PortSample {
  std::string name;
  bool is_up = false;
  Attachment attachment = Attachment::Nobody;
  PortCounts counts;  // since any moment that stays the same
};
// What is counted once.
struct CommonCounts {
  std::uint64_t conflicts = 0, refused_sessions = 0;
};

class Watch {
 public:
  static constexpr std::chrono::minutes kPeriod{1};
  static constexpr std::chrono::milliseconds kJump{500};
  using WallTime = std::chrono::system_clock::time_point;

  void look(std::vector<PortSample> ports, const CommonCounts& counts, SteadyTime now, WallTime wall);

  // As of the last look; fills in link, attachment, counts and since when. Nothing, for a port that was not seen yet.
  void fill(std::size_t port, LivePort& facts) const;
  [[nodiscard]] CommonCounts recent() const;
  [[nodiscard]] std::optional<ClockStep> clock_step() const;

 private:
  struct Seen {
    PortSample last;
    SteadyTime changed{};  // link or attachment
    PortCounts at_change;
    PortCounts recent_from, period_from;  // as counted at the last two ends of a period
  };
  void see(Seen& seen, PortSample sample) const;
  void end_period();
  void watch_clock(WallTime wall);

  std::vector<Seen> ports_;  // by number
  CommonCounts counts_, recent_from_, period_from_;
  SteadyTime now_{};
  SteadyTime period_end_{};
  std::optional<std::chrono::nanoseconds> wall_ahead_;  // of the steady clock, at the last look
  std::optional<std::pair<SteadyTime, std::chrono::milliseconds>> step_;
};

}  // namespace vmnat::doctor
