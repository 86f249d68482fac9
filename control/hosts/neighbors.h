// SPDX-License-Identifier: Apache-2.0
// Neighbors: which host of one link has which MAC address (ARP, RFC 826), as a function of events and time.
// There is one for the uplink's link, and one for each network, where it finds the VMs that inbound frames
// are for.
//
// A frame for a host whose MAC is not known waits here while the host is asked for once a second. The frames
// that wait are bounded per neighbour, per port and in all, and each waits for 3 s at most. Known neighbours
// are asked again, by unicast, before they grow old. No sockets, no clock: frames to send come out of
// `take_output`.
//
//   Incomplete --reply--> Reachable --30 s--> Probing --reply--> Reachable
//       | 3 requests unanswered                  | 3 requests unanswered
//       v                                        v
//     Silent --3 s--> forgotten                Silent
//
// Frames that have waited in vain are handed back, so that their senders can be told. Workers hear of silent
// neighbours, and refuse frames for them. A permanent neighbour (the router, the target of a forward) is
// never silent: it is asked for again and again, at last every 4 s, and its last MAC is used until another
// one answers.
//
// The MAC of a host that is asked for is learned from any ARP packet of its own, request or reply (RFC 826).
// A claim that a known host has another MAC is verified first (mac_claims.h). When the link comes back, all
// hosts are asked anew by broadcast; their MACs are used meanwhile.
//
// The room is shared between the ports whose frames wait. A port has 64 unanswered neighbours and 32 waiting
// frames at most. When the room is full, the port that uses most of it gives way: of the waiting frames its
// oldest one is dropped; of the neighbours the oldest silent one is forgotten, else the oldest that is asked
// for, else the oldest of the port that has most. Example: vm1 scans a /20 of the uplink's link. 64 addresses
// are asked for at a time, and vm2's first frame to another one waits for its answer as if there were no vm1.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "conntrack/session.h"
#include "control/hosts/mac_claims.h"
#include "net/address.h"

namespace vmnat::control {

using FrameBytes = std::vector<std::byte>;

class Neighbors {
 public:
  static constexpr std::size_t kWaitingPerNeighbor = 8;
  static constexpr std::size_t kWaitingPerPort = 32;
  static constexpr std::size_t kWaitingInAll = 256;
  static constexpr std::size_t kMaxNeighbors = 4096;
  static constexpr std::size_t kUnansweredPerPort = 64;
  static constexpr int kRequests = 3;
  static constexpr std::chrono::seconds kRetransmit{1};
  static constexpr std::chrono::seconds kReachable{30};
  static constexpr std::chrono::seconds kPatience{3};      // of a waiting frame
  static constexpr std::chrono::seconds kSilence{3};       // nobody asks again meanwhile
  static constexpr std::chrono::seconds kLongestPause{4};  // between requests for who is asked on
  static constexpr std::size_t kAskedAtOnce = 64;          // after the link was down, each 100 ms

  enum class State { Incomplete, Reachable, Probing, Silent };
  struct Neighbor {
    State state = State::Incomplete;
    net::MacAddr mac;           // zero: never known, or Silent
    bool is_permanent = false;  // asked for again and again, never forgotten
    PortIndex port = 0;         // whose frame made it known
    int requests_sent = 0;      // since it answered last, or was first asked for
    SteadyTime since;           // known for so long
    SteadyTime next_action;
    SteadyTime confirmed;
  };
  struct Counts {
    std::uint64_t requests = 0, replies = 0, resolved = 0, failed = 0, waiting_dropped = 0;
    std::uint64_t moved = 0;           // to another MAC, unasked
    std::uint64_t claims_refuted = 0;  // to have moved
  };
  // A frame that has waited in vain, as it was given.
  struct Unreachable {
    FrameBytes frame;
    PortIndex port = 0;
  };

  Neighbors(net::MacAddr own_mac, net::Ipv4Addr own_address) : own_mac_(own_mac), own_address_(own_address) {}

  // Keeps the host resolved from now on, as a permanent neighbour.
  void keep_resolved(net::Ipv4Addr address, SteadyTime now);
  // A host that is known is asked whether it is still there, and not only when it grows old.
  void ask_again(net::Ipv4Addr address, SteadyTime now);
  // It may be forgotten, like others, once nobody asks for it.
  void release(net::Ipv4Addr address);
  // We have another address on the same link. What is known of the hosts there holds.
  void change_own_address(net::Ipv4Addr address) { own_address_ = address; }
  // We have another address, maybe on another link: all neighbours are forgotten, and waiting frames dropped.
  void start_over(net::Ipv4Addr own_address);
  void start_over(net::MacAddr own_mac, net::Ipv4Addr own_address) {
    own_mac_ = own_mac;
    start_over(own_address);
  }
  // The link was down and is up: every known host may have another MAC.
  void link_returned(SteadyTime now);
  // A frame of the port whose next hop's MAC was not known: it goes out if the MAC is known by now, else
  // waits.
  void send_to(net::Ipv4Addr next_hop, FrameBytes frame, PortIndex port, SteadyTime now);
  // A frame that is complete goes out in turn.
  void send_as_is(FrameBytes frame) { output_.push_back(std::move(frame)); }
  // A whole ARP frame from the link. Hosts that were not asked for stay unknown.
  void receive_arp(std::span<const std::byte> frame, SteadyTime now);
  // Retries, probes, gives up.
  void advance(SteadyTime now);

  // Frames to send on the link, oldest first.
  std::vector<FrameBytes> take_output() { return std::exchange(output_, {}); }
  // Frames that have waited in vain.
  std::vector<Unreachable> take_unreachable() { return std::exchange(unreachable_, {}); }
  // True once after a change that workers should know of: a host is asked for, known, silent or forgotten.
  bool take_changed() { return std::exchange(changed_, false); }
  [[nodiscard]] net::MacAddr mac_of(net::Ipv4Addr address) const;  // zero: unknown
  [[nodiscard]] const std::map<net::Ipv4Addr, Neighbor>& all() const { return neighbors_; }
  [[nodiscard]] std::size_t waiting_for(net::Ipv4Addr address) const;
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }  // frames, for anybody
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  struct WaitingFrame {
    FrameBytes bytes;
    SteadyTime since;
    net::Ipv4Addr next_hop;
    PortIndex port = 0;
  };

  // nullptr: there is no room for one more.
  Neighbor* made_known(net::Ipv4Addr address, PortIndex port, SteadyTime now);
  std::map<net::Ipv4Addr, Neighbor>::iterator least_missed();
  void forget(std::map<net::Ipv4Addr, Neighbor>::iterator at);
  void change_state(Neighbor& neighbor, State state);
  bool make_room(net::Ipv4Addr next_hop, PortIndex port);
  template <typename Predicate>
  bool displace(Predicate is_among, PortIndex port);
  void drop_waiting_for(net::Ipv4Addr address);
  void return_waiting_for(net::Ipv4Addr address);
  void return_unsent(FrameBytes frame, PortIndex port);
  void hear_claim(net::Ipv4Addr address, Neighbor& neighbor, net::MacAddr mac, SteadyTime now);
  void hear_answer(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now);
  void conclude_claims(SteadyTime now);
  void ask(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now);
  void send_request(net::Ipv4Addr address, net::MacAddr to);
  void act_in(SteadyTime time, Neighbor& neighbor);
  void confirm(net::Ipv4Addr address, Neighbor& neighbor, net::MacAddr mac, SteadyTime now);
  // Frames that have waited for long enough.
  void return_overdue(SteadyTime now);
  // What is due; false: the neighbour is to be forgotten.
  bool act(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now);
  void give_up(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now);
  void address_and_send(FrameBytes frame, net::MacAddr mac);

  net::MacAddr own_mac_;
  net::Ipv4Addr own_address_;
  std::map<net::Ipv4Addr, Neighbor> neighbors_;
  std::map<PortIndex, std::size_t> unanswered_;  // neighbours that are Incomplete, but permanent ones
  std::vector<WaitingFrame> waiting_;            // oldest first
  SteadyTime due_ = SteadyTime::min();           // nothing has to be done before
  MacClaims claims_;
  std::vector<FrameBytes> output_;
  std::vector<Unreachable> unreachable_;
  bool changed_ = false;
  Counts counts_;
};

const char* to_string(Neighbors::State state);

}  // namespace vmnat::control
