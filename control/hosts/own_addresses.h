// SPDX-License-Identifier: Apache-2.0
// OwnAddresses: announces our addresses on the uplink's link, and defends them there (RFC 5227).
//
// An address is announced twice, two seconds apart (section 2.3), whenever it is new to the link: at start,
// when the link comes up, with a lease. When another station claims it by an ARP packet, one announcement
// answers, and no more than one in ten seconds (section 2.4 c): an address of the configuration is kept.
// dhcp::Client gives up a leased address when the claim is repeated (2.4 b). A probe, which only asks whether
// the address is free, is answered by the workers like any ARP request.
//
// A function of events and time; frames come out of take_output().
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "base/time.h"
#include "control/hosts/neighbors.h"

namespace vmnat::control {

class OwnAddresses {
 public:
  static constexpr unsigned kAnnouncements = 2;
  static constexpr std::chrono::seconds kAnnounceInterval{2};
  static constexpr std::chrono::seconds kDefendInterval{10};

  explicit OwnAddresses(net::MacAddr own_mac) : own_mac_(own_mac) {}

  void announce(net::Ipv4Addr address, SteadyTime now);
  // It is ours no more.
  void withdraw(net::Ipv4Addr address) { addresses_.erase(address); }
  // Another station says that it has an address of ours.
  void defend(net::Ipv4Addr address, SteadyTime now);
  void advance(SteadyTime now);

  std::vector<FrameBytes> take_output() { return std::exchange(output_, {}); }
  [[nodiscard]] std::uint64_t announcements() const { return announcements_; }
  [[nodiscard]] std::uint64_t conflicts() const { return conflicts_; }

 private:
  struct Address {
    unsigned left = 0;  // announcements to be made
    SteadyTime next;
    SteadyTime quiet_until = SteadyTime::min();  // it was defended
  };
  void send(net::Ipv4Addr address);

  net::MacAddr own_mac_;
  std::map<net::Ipv4Addr, Address> addresses_;
  std::vector<FrameBytes> output_;
  std::uint64_t announcements_ = 0, conflicts_ = 0;
};

}  // namespace vmnat::control
