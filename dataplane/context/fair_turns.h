// SPDX-License-Identifier: Apache-2.0
// FairTurns: who has its turn where ports share a limit that they use up together. Deficit round robin, of one worker
// and one direction.
//
// In each round a port has a turn's worth of bytes (Limit::turn). Who has used his up waits for the next round, which
// begins when no port that still has some wants more, though the limit would let it: what those leave is for the others.
// What a port takes too much, since frames are whole, it lacks in the next rounds: those in which nobody has anything are
// passed over at once, for super-frames are worth many.
//
//   turn of polls   vm1, floods   vm2, floods    vm3, now and then      limit
//   1               takes 6 KB    -              -                      used up
//   2               waits         takes 6 KB     -                      used up
//   3               waits         waits          takes all, one frame   has some left: the next round
//
// So n ports that always have frames get an nth each, whatever their sizes are; who wants less gets that at once.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/ids.h"
#include "conntrack/reserved_array.h"
#include "dataplane/context/limits.h"

namespace vmnat::dataplane {

class FairTurns {
 public:
  // Which of a port's shared limits.
  enum class Sharing : std::uint8_t { Network, Uplink };

  explicit FairTurns(std::size_t most_ports) : shares_(most_ports), rounds_(kLimits) {}
  [[nodiscard]] bool has_memory() const { return shares_.reserved() && rounds_.reserved(); }

  // Bytes that the port still has in this round. None: it waits, and the round may end.
  std::int64_t share_left(const PortLimits& port, PortIndex index, Sharing sharing, const Limit& limit) {
    Round& round = round_of(port, sharing);
    Share& share = share_of(index, sharing);
    if (const std::uint32_t rounds = round.number - share.round; rounds != 0)
      share = {round.number,
               std::min(limit.turn(), std::min<std::int64_t>(share.left, 0) + rounds * limit.turn())};
    if (share.left <= 0)
      round.awaited = std::min(round.awaited, static_cast<std::uint32_t>(-share.left / limit.turn() + 1));
    return share.left;
  }
  // The limit is used up: whose turn it is, his it stays.
  void note_used_up(const PortLimits& port, Sharing sharing) { round_of(port, sharing).is_used_up = true; }
  void take(PortIndex index, Sharing sharing, std::uint64_t bytes) {
    share_of(index, sharing).left -= static_cast<std::int64_t>(bytes);
  }
  // It would have taken more, if it had been asked for more at a time.
  void note_more(const PortLimits& port, PortIndex index, Sharing sharing) {
    if (share_of(index, sharing).left > 0) round_of(port, sharing).goes_on = true;
  }
  // All ports have been asked. True: some round has ended, and who waited for it is to be asked again.
  bool end_turn() {
    bool has_ended = false;
    for (unsigned i = 0; i < listed_count_; ++i) {
      Round& round = rounds_[listed_[i]];
      const bool ends = round.awaited != kNobody && !round.goes_on && !round.is_used_up;
      round.number += ends ? round.awaited : 0;
      round.is_listed = false;
      has_ended |= ends;
    }
    listed_count_ = 0;
    return has_ended;
  }

 private:
  struct Share {
    std::uint32_t round = 0;
    std::int64_t left = 0;
  };
  struct Round {
    std::uint32_t number = 0;
    std::uint32_t awaited = 0;  // rounds, until the first who waits has something again
    bool is_listed = false, goes_on = false, is_used_up = false;  // in this turn
  };
  static constexpr std::uint32_t kNobody = 0xffffffff;
  static constexpr std::size_t kLimits = kMostNetworks + kMostUplinks;  // the last ones are uplinks'

  Round& round_of(const PortLimits& port, Sharing sharing) {
    const std::size_t number = sharing == Sharing::Uplink ? kMostNetworks + port.of_uplink : port.network;
    Round& round = rounds_[number];
    if (round.is_listed) return round;
    listed_[listed_count_++] = static_cast<std::uint16_t>(number);
    round = {.number = round.number, .awaited = kNobody, .is_listed = true};
    return round;
  }
  Share& share_of(PortIndex port, Sharing sharing) {
    return shares_[port].of[static_cast<std::size_t>(sharing)];
  }

  struct Shares {
    Share of[2];
  };
  conntrack::ReservedArray<Shares> shares_;  // by PortIndex
  conntrack::ReservedArray<Round> rounds_;
  std::array<std::uint16_t, kLimits> listed_;  // rounds that somebody has asked for in this turn
  unsigned listed_count_ = 0;
};

}  // namespace vmnat::dataplane
