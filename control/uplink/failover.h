// SPDX-License-Identifier: Apache-2.0
// UplinkFailover: which uplink a network is to be on, as a function of events and time: no sockets, no clock.
//
// A network is on the uplink that it prefers while that can be used; else on the first one of the file that can. One
// that cannot be used is left at once. To a better one a network goes when that has been usable for 10 s, so that a link
// that comes and goes does not end sessions again and again. If none can be used, it stays.
//
//   0 s    wan1 is dead                        default, which prefers wan1, goes to wan2
//   20 s   wan1 can be used again              default stays
//   24 s   wan1 is dead, and at 26 s usable    default stays
//   36 s                                       default goes back to wan1
//
// At a start links come up, leases come and routers are asked for the first time: for 10 s an uplink that could not be
// used yet is not left, and no network goes there.
#pragma once

#include <chrono>
#include <vector>

#include "base/ids.h"
#include "base/time.h"

namespace vmnat::control {

// Why an uplink cannot be used.
enum class UplinkTrouble : std::uint8_t { None, NoLink, NoAddress, SilentGateway, SilentProbe };

class UplinkFailover {
 public:
  static constexpr std::chrono::seconds kHold{10};
  static constexpr std::chrono::seconds kStart{10};

  UplinkFailover(std::size_t uplinks, SteadyTime start) : start_(start), seen_(uplinks) {}

  // What is known of an uplink. True: it can be used and could not, or the other way round.
  bool note(PortIndex uplink, UplinkTrouble trouble, SteadyTime now);

  // Where a network is to be that prefers the one uplink, and is on the other.
  [[nodiscard]] PortIndex choose(PortIndex preferred, PortIndex current, SteadyTime now) const;

  [[nodiscard]] bool is_usable(PortIndex uplink) const {
    return seen_[uplink].trouble == UplinkTrouble::None;
  }
  [[nodiscard]] UplinkTrouble trouble(PortIndex uplink) const { return seen_[uplink].trouble; }
  // It cannot be used, and has had its time to begin.
  [[nodiscard]] bool is_dead(PortIndex uplink, SteadyTime now) const { return !may_stay(uplink, now); }

 private:
  struct Seen {
    UplinkTrouble trouble = UplinkTrouble::NoLink;
    bool was_usable = false;  // at some time
    SteadyTime since{};       // usable
  };
  [[nodiscard]] bool may_stay(PortIndex uplink, SteadyTime now) const;
  [[nodiscard]] bool is_better(PortIndex candidate, PortIndex current, SteadyTime now) const;

  SteadyTime start_;
  std::vector<Seen> seen_;  // by uplink
};

}  // namespace vmnat::control
