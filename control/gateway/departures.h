// SPDX-License-Identifier: Apache-2.0
// Departures: what is still to be done after ports and networks have left, until others may have their numbers.
//
// No worker polls them any more, and their devices are closed (Gateway::reconfigure). Then:
//
//   1. their sessions end
//   2. their numbers rest for 5 s and 256 polls of every worker. Frames that carry them come to their ends
//      meanwhile: those in rings between workers (64 polls empty one, and a frame crosses three), fragments that
//      wait (2 s), frames that wait for a MAC (3 s), punts in control's rings
//   3. sessions that such frames have opened end as well
//   4. the numbers are free
//
// Departures do not wait for one another. Sessions that a change no longer allows, and that have nothing to do with a
// number, end in the same way: by 1 alone.
#pragma once

#include <chrono>
#include <list>
#include <optional>
#include <vector>

#include "base/time.h"
#include "control/gateway/worker_flush.h"
#include "control/plan/numbers.h"

namespace vmnat::control {

class Departures {
 public:
  static constexpr std::chrono::seconds kRest{5};
  static constexpr std::uint64_t kRestPolls = 256;

  struct Party {
    std::vector<PortIndex> ports;
    std::vector<NetworkIndex> networks;
    std::vector<dataplane::SessionSelector> sessions;  // to end
  };

  // All of them outlive it.
  Departures(Numbers& numbers, Workers& workers, FlushTurns& turns)
      : numbers_(numbers), workers_(workers), turns_(turns) {}

  void add(Party party);
  // Does what is due. Called again and again.
  void advance(SteadyTime now);

  // Parties whose numbers are not free yet, or whose sessions have not ended.
  [[nodiscard]] std::size_t under_way() const { return parties_.size(); }
  [[nodiscard]] std::uint64_t sessions_ended() const { return sessions_ended_; }

 private:
  enum class Step { EndSessions, Rest, EndLateSessions };
  struct Leaving {
    Party party;
    Step step = Step::EndSessions;
    std::size_t next_selector = 0;
    std::optional<WorkerFlush> flush;
    SteadyTime rests_since{};
    std::vector<std::uint64_t> polls;  // by worker, then
  };
  bool end_sessions(Leaving& leaving);
  void begin_rest(Leaving& leaving, SteadyTime now) const;
  [[nodiscard]] bool has_rested(const Leaving& leaving, SteadyTime now) const;
  bool step(Leaving& leaving, SteadyTime now);
  void release(const Party& party);

  Numbers& numbers_;
  Workers& workers_;
  FlushTurns& turns_;
  std::list<Leaving> parties_;
  std::uint64_t sessions_ended_ = 0;
};

}  // namespace vmnat::control
