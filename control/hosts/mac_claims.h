// SPDX-License-Identifier: Apache-2.0
// MacClaims: an ARP packet says that a neighbour, whose MAC is known, has another one.
//
// RFC 826 would take it at once, and who lies would have the router's traffic; who takes nothing unasked
// loses a router that has failed over, for as long as its old MAC is not asked again. So both MACs are asked,
// by unicast, and have 100 ms:
//
//   the known one answers     the claim is refuted: of the same claimant no more is heard for a second
//   it does not               the claim stands; as good as an answer, if the claimed MAC has answered
//
// Example: 203.0.113.1 moves from A to B and says so. Both are asked, B answers after 1 ms, A never does; 100
// ms later traffic goes to B. A liar at C who says the same while A is alive: A answers, nothing changes.
// The answer of a claimant that is faster than the known MAC decides nothing.
//
// One claim runs for a neighbour at a time, and 64 for all but those that cannot be done without.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <vector>

#include "net/address.h"

namespace vmnat::control {

class MacClaims {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kPatience{100};
  static constexpr std::chrono::seconds kPause{1};
  static constexpr std::size_t kAtOnce = 64;
  enum class Weight { Usual, Vital };  // Vital: may run beyond kAtOnce

  struct Standing {
    net::Ipv4Addr address;
    net::MacAddr mac;
    bool is_answered;  // by the claimed MAC
  };

  // True when both MACs are to be asked now.
  bool begin(net::Ipv4Addr address, net::MacAddr mac, Weight weight, Time now);
  // A reply has come from a MAC that is not the known one.
  void note_answer(net::Ipv4Addr address, net::MacAddr mac);
  // One has come from the known one. True when that ends a claim.
  bool refute(net::Ipv4Addr address, Time now);
  // Those that nobody has refuted in time.
  std::vector<Standing> take_standing(Time now);
  void forget(net::Ipv4Addr address) { running_.erase(address), refuted_.erase(address); }
  void clear() { running_.clear(), refuted_.clear(); }

 private:
  struct Claim {
    net::MacAddr mac;
    Time ends;  // of waiting for an answer, or of not being heard
    bool is_answered = false;
  };
  std::map<net::Ipv4Addr, Claim> running_;
  std::map<net::Ipv4Addr, Claim> refuted_;  // the last one each
};

}  // namespace vmnat::control
