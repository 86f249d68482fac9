// SPDX-License-Identifier: Apache-2.0
// OfferChecks: addresses that are asked about by ARP before DHCP offers them, and the DISCOVERs that wait.
//
// Twice within 400 ms a network is asked who has the address. Nobody: the DISCOVER is answered with it.
// Another station than the one that asks: with another address. So a guest that set an address by hand is not
// given a rival. What does not fit (64 at a time) is offered unchecked, as dnsmasq does under load, and
// counted.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "control/neighbors.h"
#include "dataplane/forwarding_state.h"

namespace vmnat::control {

class OfferChecks {
 public:
  static constexpr std::chrono::milliseconds kPatience{400};
  static constexpr std::size_t kAtOnce = 64;

  // A DISCOVER that waits for its address.
  struct Waiting {
    dataplane::NetworkIndex network = 0;
    net::Ipv4Addr address;
    dataplane::PortIndex port = 0;
    FrameBytes frame;  // its source is the client
    SteadyTime asked;
    bool asked_twice = false;
  };
  // How a check ended: `by` is who has the address, zero: nobody.
  struct Settled {
    Waiting waiting;
    net::MacAddr by;
  };
  struct Question {
    dataplane::NetworkIndex network;
    net::Ipv4Addr address;
  };

  // False: there are too many.
  bool add(Waiting waiting);
  // An ARP reply from a network.
  void receive_arp(std::span<const std::byte> frame, dataplane::NetworkIndex network);
  // What is settled by now: answered, or silent for long enough.
  std::vector<Settled> take_settled(SteadyTime now);
  // What is to be asked now.
  std::vector<Question> take_questions() { return std::exchange(questions_, {}); }
  // Whether ARP replies of the network are waited for, or have been within some seconds.
  [[nodiscard]] bool awaits_replies(dataplane::NetworkIndex network, SteadyTime now) const;

  [[nodiscard]] std::uint64_t asked() const { return asked_; }
  [[nodiscard]] std::uint64_t in_use() const { return in_use_; }
  [[nodiscard]] std::uint64_t skipped() const { return skipped_; }

 private:
  std::vector<Waiting> waiting_;
  std::vector<Settled> settled_;
  std::vector<Question> questions_;
  std::vector<SteadyTime> last_;  // by network: when it was asked
  std::uint64_t asked_ = 0, in_use_ = 0, skipped_ = 0;
};

}  // namespace vmnat::control
