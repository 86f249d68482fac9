// SPDX-License-Identifier: Apache-2.0
// Neighbors: who has which MAC address on the uplink's link (ARP, RFC 826), as a function of events and time.
//
// Frames for a next hop that is not known yet wait here, a few per neighbour and in all, each for up to 3 s,
// while it is asked for once a second. Known neighbours are asked again, by unicast, before they grow old;
// one that stays silent is forgotten. No sockets, no clock: frames to send come out of `take_output`.
//
//   Incomplete --reply--> Reachable --30 s--> Probing --reply--> Reachable
//       | 3 requests unanswered                  | 3 requests unanswered
//       v                                        v
//    forgotten, or asked on                   forgotten, or Incomplete
//
// Asked on, as Incomplete, is who cannot be done without: the gateway, and whom frames still wait for.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/net/address.h"

namespace vmnat::control {

using SteadyTime = std::chrono::steady_clock::time_point;
using FrameBytes = std::vector<std::byte>;

// Who has `target`? Asked by `own_address` at `own_mac`.
FrameBytes arp_request(net::MacAddr own_mac, net::Ipv4Addr own_address, net::Ipv4Addr target,
                       net::MacAddr to);

class Neighbors {
 public:
  static constexpr std::size_t kWaitingPerNeighbor = 8;
  static constexpr std::size_t kWaitingInAll = 256;
  static constexpr std::size_t kMaxNeighbors = 4096;
  static constexpr int kRequests = 3;
  static constexpr std::chrono::seconds kRetransmit{1};
  static constexpr std::chrono::seconds kReachable{30};
  static constexpr std::chrono::seconds kPatience{3};  // of a waiting frame

  enum class State { Incomplete, Reachable, Probing };
  struct WaitingFrame {
    FrameBytes bytes;
    SteadyTime since;
  };
  struct Neighbor {
    State state = State::Incomplete;
    net::MacAddr mac;
    bool is_permanent = false;  // the gateway: asked for again and again, never forgotten
    int requests_sent = 0;
    SteadyTime next_action;
    SteadyTime confirmed;
    std::deque<WaitingFrame> waiting;  // oldest first
  };
  struct Counts {
    std::uint64_t requests = 0, replies = 0, resolved = 0, failed = 0, waiting_dropped = 0;
  };

  Neighbors(net::MacAddr own_mac, net::Ipv4Addr own_address) : own_mac_(own_mac), own_address_(own_address) {}

  // Keeps the gateway resolved from now on.
  void keep_resolved(net::Ipv4Addr address, SteadyTime now);
  // The uplink has another address: whoever was known may be on another link. Frames that wait are dropped.
  void start_over(net::Ipv4Addr own_address);
  // RFC 5227 announcement of one of our addresses (gratuitous ARP).
  void announce(net::Ipv4Addr address);
  // A frame whose next hop has no MAC yet: it waits, or, if that is known by now, goes out.
  void send_to(net::Ipv4Addr next_hop, FrameBytes frame, SteadyTime now);
  // A frame that is complete goes out in turn.
  void send_as_is(FrameBytes frame) { output_.push_back(std::move(frame)); }
  // A whole ARP frame from the link. Only answers to what was asked are believed: a known neighbour's other
  // MAC only when it did not answer from the old one.
  void receive_arp(std::span<const std::byte> frame, SteadyTime now);
  // Retries, probes, gives up.
  void advance(SteadyTime now);

  // Frames to send on the uplink, oldest first.
  std::vector<FrameBytes> take_output() { return std::exchange(output_, {}); }
  // True once after the set of usable neighbours has changed.
  bool take_changed() { return std::exchange(changed_, false); }
  [[nodiscard]] net::MacAddr mac_of(net::Ipv4Addr address) const;  // zero: unknown
  [[nodiscard]] const std::map<net::Ipv4Addr, Neighbor>& all() const { return neighbors_; }
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  void ask(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now);
  void confirm(Neighbor& neighbor, net::MacAddr mac, SteadyTime now);
  // Drops frames that have waited for long enough.
  void drop_overdue(Neighbor& neighbor, SteadyTime now);
  // True when the neighbour stays known, as Incomplete.
  bool give_up(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now);
  void address_and_send(FrameBytes frame, net::MacAddr mac);

  net::MacAddr own_mac_;
  net::Ipv4Addr own_address_;
  std::map<net::Ipv4Addr, Neighbor> neighbors_;
  std::size_t waiting_ = 0;
  std::vector<FrameBytes> output_;
  bool changed_ = false;
  Counts counts_;
};

const char* to_string(Neighbors::State state);

}  // namespace vmnat::control
