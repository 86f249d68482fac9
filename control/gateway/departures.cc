// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/departures.h"

namespace vmnat::control {

void Departures::add(Party party) {
  if (!party.ports.empty() || !party.networks.empty() || !party.sessions.empty())
    parties_.push_back({.party = std::move(party)});
}

void Departures::advance(SteadyTime now) {
  std::erase_if(parties_, [&](Leaving& leaving) { return step(leaving, now); });
}

// True: all is done.
bool Departures::step(Leaving& leaving, SteadyTime now) {
  switch (leaving.step) {
    case Step::EndSessions:
      if (!end_sessions(leaving)) return false;
      if (leaving.party.ports.empty() && leaving.party.networks.empty()) return true;
      begin_rest(leaving, now);
      leaving.step = Step::Rest;
      return false;
    case Step::Rest:
      if (has_rested(leaving, now)) leaving.step = Step::EndLateSessions;
      return false;
    case Step::EndLateSessions:
      break;
  }
  if (!end_sessions(leaving)) return false;
  release(leaving.party);
  return true;
}

// One selector after the other. True: all of them have been.
bool Departures::end_sessions(Leaving& leaving) {
  for (; leaving.next_selector < leaving.party.sessions.size(); ++leaving.next_selector) {
    if (!leaving.flush)
      leaving.flush.emplace(workers_, turns_, leaving.party.sessions[leaving.next_selector]);
    const auto ended = leaving.flush->poll();
    if (!ended) return false;
    sessions_ended_ += *ended;
    leaving.flush.reset();
  }
  leaving.next_selector = 0;
  return true;
}

void Departures::begin_rest(Leaving& leaving, SteadyTime now) const {
  leaving.rests_since = now;
  for (const dataplane::Worker& worker : workers_) leaving.polls.push_back(worker.polls());
}

bool Departures::has_rested(const Leaving& leaving, SteadyTime now) const {
  for (std::size_t i = 0; i < leaving.polls.size(); ++i)
    if (workers_[i].polls() - leaving.polls[i] < kRestPolls) return false;
  return now - leaving.rests_since >= kRest;
}

void Departures::release(const Party& party) {
  for (const PortIndex port : party.ports) numbers_.ports.release(port);
  for (const NetworkIndex network : party.networks) numbers_.networks.release(network);
}

}  // namespace vmnat::control
