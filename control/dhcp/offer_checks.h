// SPDX-License-Identifier: Apache-2.0
// OfferChecks: the DISCOVERs that wait while their network is asked, by ARP, whether the address that they
// would be offered is free.
//
// The network is asked twice within 400 ms. When nobody answers, the address is offered; when another station
// than the client has it, another address is. So a guest that set its address by hand is not given a rival.
//
// Each question goes to every VM of the network, so a port has a budget of questions: 4 a second and 8 at
// once for a VM, 64 and 128 for a segment or a relay. 256 checks run at a time. An address beyond that is
// offered unchecked, as dnsmasq does under load, and counted. When a client repeats its DISCOVER, the last
// one is answered, and nobody is asked again. Example: 15 clients behind one relay ask in one burst. 15
// addresses are asked about, and 400 ms later there are 15 offers.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "dataplane/context/forwarding_state.h"
#include "dhcp/frame.h"
#include "dhcp/lease_table.h"
#include "dhcp/port_budget.h"

namespace vmnat::control {

class OfferChecks {
 public:
  static constexpr std::chrono::milliseconds kPatience{400};
  static constexpr std::size_t kAtOnce = 256;
  // Checks a second that a port may cause.
  static constexpr unsigned kOfAVm = 4;
  static constexpr unsigned kOfASegment = 64;

  // A DISCOVER that waits for its address.
  struct Waiting {
    dataplane::NetworkIndex network = 0;
    net::Ipv4Addr address;
    PortIndex port = 0;
    net::MacAddr client;  // with the key it tells the clients of a port apart
    dhcp::ClientKey key;
    dhcp::Frame frame;
    SteadyTime asked;
    bool asked_twice = false;

    [[nodiscard]] bool is_of_same_client(const Waiting& other) const {
      return port == other.port && client == other.client && key == other.key;
    }
  };
  struct Question {
    dataplane::NetworkIndex network;
    net::Ipv4Addr address;
  };

  // False: too many are waiting, or the port has caused more than `per_second` of them.
  bool add(Waiting waiting, unsigned per_second);
  // The one that waits for the address; nullptr: none.
  [[nodiscard]] const Waiting* waiting_for(dataplane::NetworkIndex network, net::Ipv4Addr address) const;
  // Ends the check of an address that is waited for.
  Waiting take(dataplane::NetworkIndex network, net::Ipv4Addr address);
  // Those whose addresses nobody has claimed within kPatience.
  std::vector<Waiting> take_unanswered(SteadyTime now);
  // Those of ports and networks that have left are not waited for any more.
  template <typename Predicate>
  void forget(Predicate has_left) {
    std::erase_if(waiting_, has_left);
  }
  // The questions to be asked now.
  std::vector<Question> take_questions() { return std::exchange(questions_, {}); }
  // Whether ARP replies of the network are waited for, or have been within some seconds.
  [[nodiscard]] bool awaits_replies(dataplane::NetworkIndex network, SteadyTime now) const;

  // DISCOVERs that wait.
  [[nodiscard]] std::size_t running() const { return waiting_.size(); }
  [[nodiscard]] std::uint64_t asked() const { return asked_; }
  [[nodiscard]] std::uint64_t skipped() const { return skipped_; }

 private:
  std::vector<Waiting> waiting_;
  std::vector<Question> questions_;
  std::vector<SteadyTime> last_;  // by network: when it was asked
  dhcp::PortBudget<SteadyTime, PortIndex> budget_;
  std::uint64_t asked_ = 0, skipped_ = 0;
};

}  // namespace vmnat::control
