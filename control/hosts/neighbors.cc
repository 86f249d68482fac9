// SPDX-License-Identifier: Apache-2.0
#include "control/hosts/neighbors.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "net/arp.h"

namespace vmnat::control {
namespace {

constexpr int kUnicastProbes = 1;
constexpr std::chrono::milliseconds kAskingPace{100};  // after the link was down

// Its old MAC was asked, and did not answer: whoever answers now has the address.
bool is_asked_of_all(const Neighbors::Neighbor& neighbor) {
  return neighbor.state == Neighbors::State::Probing && neighbor.requests_sent > kUnicastProbes;
}

}  // namespace

const char* to_string(Neighbors::State state) {
  switch (state) {
    case Neighbors::State::Incomplete:
      return "incomplete";
    case Neighbors::State::Reachable:
      return "reachable";
    case Neighbors::State::Probing:
      return "probing";
    case Neighbors::State::Silent:
      return "silent";
  }
  return "?";
}

void Neighbors::keep_resolved(net::Ipv4Addr address, SteadyTime now) {
  if (address.is_unspecified()) return;
  const auto [at, is_new] = neighbors_.try_emplace(address, Neighbor{.since = now});
  Neighbor& neighbor = at->second;
  if (!is_new) change_state(neighbor, neighbor.mac.is_zero() ? State::Silent : neighbor.state);
  neighbor.is_permanent = true;
  if (!neighbor.mac.is_zero()) return;
  neighbor.state = State::Incomplete;
  changed_ = true;
  ask(address, neighbor, now);
}

void Neighbors::ask_again(net::Ipv4Addr address, SteadyTime now) {
  const auto known = neighbors_.find(address);
  if (known != neighbors_.end() && known->second.state == State::Reachable) act_in(now, known->second);
}

void Neighbors::release(net::Ipv4Addr address) {
  const auto known = neighbors_.find(address);
  if (known == neighbors_.end() || !known->second.is_permanent) return;
  if (known->second.mac.is_zero()) return forget(known);
  known->second.is_permanent = false;
}

void Neighbors::start_over(net::Ipv4Addr own_address) {
  own_address_ = own_address;
  counts_.waiting_dropped += waiting_.size();
  waiting_.clear();
  changed_ |= !neighbors_.empty();
  neighbors_.clear();
  unanswered_.clear();
  claims_.clear();
}

void Neighbors::link_returned(SteadyTime now) {
  std::size_t asked = 0;
  for (auto& [address, neighbor] : neighbors_) {
    if (neighbor.state != State::Silent) {
      if (!neighbor.mac.is_zero()) change_state(neighbor, State::Probing);
      neighbor.requests_sent = neighbor.mac.is_zero() ? 0 : kUnicastProbes;
    }
    const bool is_first = neighbor.is_permanent || neighbor.state != State::Probing;
    const std::size_t turn = is_first ? 0 : asked++ / kAskedAtOnce;
    act_in(now + turn * kAskingPace, neighbor);
  }
}

void Neighbors::send_to(net::Ipv4Addr next_hop, FrameBytes frame, PortIndex port, SteadyTime now) {
  const auto known = neighbors_.find(next_hop);
  Neighbor* neighbor = known == neighbors_.end() ? made_known(next_hop, port, now) : &known->second;
  if (neighbor != nullptr && !neighbor->mac.is_zero())
    return address_and_send(std::move(frame), neighbor->mac);
  if (neighbor != nullptr && neighbor->state == State::Silent) return return_unsent(std::move(frame), port);
  if (neighbor == nullptr || !make_room(next_hop, port)) {
    ++counts_.waiting_dropped;
    return;
  }
  waiting_.push_back({std::move(frame), now, next_hop, port});
}

Neighbors::Neighbor* Neighbors::made_known(net::Ipv4Addr address, PortIndex port, SteadyTime now) {
  if (address.is_unspecified()) return nullptr;  // no host has it
  std::size_t& unanswered = unanswered_[port];
  if (unanswered >= kUnansweredPerPort) return nullptr;
  if (neighbors_.size() >= kMaxNeighbors) {
    const auto victim = least_missed();
    if (victim == neighbors_.end()) return nullptr;
    forget(victim);
  }
  Neighbor& neighbor = neighbors_[address];
  neighbor = {.port = port, .since = now};
  ++unanswered;
  changed_ = true;
  ask(address, neighbor, now);
  return &neighbor;
}

// Who makes room. Rare: the table is full.
std::map<net::Ipv4Addr, Neighbors::Neighbor>::iterator Neighbors::least_missed() {
  std::map<PortIndex, std::size_t> answered;
  for (const auto& [address, neighbor] : neighbors_)
    if (!neighbor.is_permanent && !neighbor.mac.is_zero()) ++answered[neighbor.port];
  const auto missed = [&](const Neighbor& neighbor) {
    const int kind = neighbor.state == State::Silent ? 0 : neighbor.mac.is_zero() ? 1 : 2;
    const std::size_t of_port = kind == 2 ? answered[neighbor.port] : 0;
    return std::tuple{kind, kMaxNeighbors - of_port, neighbor.since};
  };
  auto least = neighbors_.end();
  for (auto at = neighbors_.begin(); at != neighbors_.end(); ++at) {
    if (at->second.is_permanent) continue;
    if (least == neighbors_.end() || missed(at->second) < missed(least->second)) least = at;
  }
  return least;
}

void Neighbors::forget(std::map<net::Ipv4Addr, Neighbor>::iterator at) {
  drop_waiting_for(at->first);
  claims_.forget(at->first);
  change_state(at->second, State::Silent);
  neighbors_.erase(at);
  changed_ = true;
}

void Neighbors::change_state(Neighbor& neighbor, State state) {
  if (neighbor.state == State::Incomplete && state != State::Incomplete && !neighbor.is_permanent)
    --unanswered_[neighbor.port];
  neighbor.state = state;
}

// True when one more frame of the port may wait for this next hop.
bool Neighbors::make_room(net::Ipv4Addr next_hop, PortIndex port) {
  const auto is_ports = [&](const WaitingFrame& frame) { return frame.port == port; };
  const auto is_for_hop = [&](const WaitingFrame& frame) { return frame.next_hop == next_hop; };
  const auto is_any = [](const WaitingFrame&) { return true; };
  if (static_cast<std::size_t>(std::ranges::count_if(waiting_, is_ports)) >= kWaitingPerPort) return false;
  if (waiting_for(next_hop) >= kWaitingPerNeighbor && !displace(is_for_hop, port)) return false;
  return waiting_.size() < kWaitingInAll || displace(is_any, port);
}

// The oldest of these frames goes that is of the port which has most of them, if this port has fewer even
// with one more.
template <typename Predicate>
bool Neighbors::displace(Predicate is_among, PortIndex port) {
  std::map<PortIndex, std::size_t> counts;
  for (const WaitingFrame& frame : waiting_)
    if (is_among(frame)) ++counts[frame.port];
  const auto most = std::ranges::max_element(counts, {}, [](const auto& of_port) { return of_port.second; });
  if (most == counts.end() || most->second < counts[port] + 2) return false;
  waiting_.erase(std::ranges::find_if(
      waiting_, [&](const WaitingFrame& frame) { return frame.port == most->first && is_among(frame); }));
  ++counts_.waiting_dropped;
  return true;
}

std::size_t Neighbors::waiting_for(net::Ipv4Addr address) const {
  return static_cast<std::size_t>(std::ranges::count(waiting_, address, &WaitingFrame::next_hop));
}

void Neighbors::drop_waiting_for(net::Ipv4Addr address) {
  counts_.waiting_dropped +=
      std::erase_if(waiting_, [&](const WaitingFrame& frame) { return frame.next_hop == address; });
}

void Neighbors::return_waiting_for(net::Ipv4Addr address) {
  for (WaitingFrame& frame : waiting_)
    if (frame.next_hop == address) return_unsent(std::move(frame.bytes), frame.port);
  std::erase_if(waiting_, [&](const WaitingFrame& frame) { return frame.next_hop == address; });
}

void Neighbors::return_unsent(FrameBytes frame, PortIndex port) {
  ++counts_.waiting_dropped;
  if (unreachable_.size() < kWaitingInAll) unreachable_.push_back({std::move(frame), port});
}

void Neighbors::receive_arp(std::span<const std::byte> frame, SteadyTime now) {
  const auto* arp = net::arp_in(frame);
  if (arp == nullptr) return;
  const bool is_reply = arp->op() == net::ArpOperation::Reply;
  if (!is_reply && arp->op() != net::ArpOperation::Request) return;
  const net::MacAddr mac = arp->sender_mac;
  if (mac.is_group() || mac.is_zero() || mac == own_mac_) return;
  const auto known = neighbors_.find(arp->sender_address);
  if (known == neighbors_.end()) return;
  Neighbor& neighbor = known->second;
  if (neighbor.mac.is_zero() || is_asked_of_all(neighbor)) {
    ++counts_.replies;
    return confirm(known->first, neighbor, mac, now);
  }
  if (mac != neighbor.mac) {
    if (is_reply) claims_.note_answer(known->first, mac);
    hear_claim(known->first, neighbor, mac, now);
  } else if (is_reply) {
    hear_answer(known->first, neighbor, now);
  }
}

void Neighbors::hear_claim(net::Ipv4Addr address, Neighbor& neighbor, net::MacAddr mac, SteadyTime now) {
  const auto weight = neighbor.is_permanent ? MacClaims::Weight::Vital : MacClaims::Weight::Usual;
  if (!claims_.begin(address, mac, weight, now)) return;
  for (const net::MacAddr to : {neighbor.mac, mac}) send_request(address, to);
}

// From the MAC that is known. Who had a rival is asked again soon: it may be about to go.
void Neighbors::hear_answer(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now) {
  const bool is_refuted = claims_.refute(address, now);
  if (!is_refuted && neighbor.state != State::Probing) return;
  ++counts_.replies;
  confirm(address, neighbor, neighbor.mac, now);
  if (!is_refuted) return;
  ++counts_.claims_refuted;
  act_in(now + kRetransmit, neighbor);
}

// Whoever has moved without a word since is asked for by broadcast: the former MAC, if it was but slow, is
// believed again.
void Neighbors::conclude_claims(SteadyTime now) {
  for (const MacClaims::Standing& claim : claims_.take_standing(now)) {
    const auto known = neighbors_.find(claim.address);
    if (known == neighbors_.end() || known->second.mac.is_zero()) continue;
    ++counts_.moved;
    confirm(claim.address, known->second, claim.mac, now);
    if (claim.is_answered) continue;
    change_state(known->second, State::Probing);
    known->second.requests_sent = kUnicastProbes;
    ask(claim.address, known->second, now);
  }
}

void Neighbors::advance(SteadyTime now) {
  return_overdue(now);
  conclude_claims(now);
  if (now < due_) return;
  due_ = SteadyTime::max();
  for (auto at = neighbors_.begin(); at != neighbors_.end();) {
    const auto next = std::next(at);
    if (now >= at->second.next_action && !act(at->first, at->second, now))
      forget(at);
    else
      due_ = std::min(due_, at->second.next_action);
    at = next;
  }
}

bool Neighbors::act(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now) {
  if (neighbor.state == State::Silent) return false;
  if (neighbor.state == State::Reachable) {
    change_state(neighbor, State::Probing);
    neighbor.requests_sent = 0;
  }
  if (neighbor.requests_sent == kRequests) ++counts_.failed;
  if (neighbor.requests_sent >= kRequests && !neighbor.is_permanent)
    give_up(address, neighbor, now);
  else
    ask(address, neighbor, now);
  return true;
}

void Neighbors::give_up(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now) {
  change_state(neighbor, State::Silent);
  neighbor.mac = {};
  changed_ = true;
  claims_.forget(address);
  return_waiting_for(address);
  act_in(now + kSilence, neighbor);
}

net::MacAddr Neighbors::mac_of(net::Ipv4Addr address) const {
  const auto known = neighbors_.find(address);
  return known == neighbors_.end() ? net::MacAddr{} : known->second.mac;
}

// A known neighbour is asked by unicast first, then by broadcast: it may have got a new MAC.
void Neighbors::ask(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now) {
  const bool by_unicast = neighbor.state == State::Probing && neighbor.requests_sent < kUnicastProbes;
  send_request(address, by_unicast ? neighbor.mac : net::kBroadcastMac);
  ++neighbor.requests_sent;
  std::chrono::seconds pause = kRetransmit;  // then twice as long each time
  for (int i = kRequests; i < neighbor.requests_sent && pause < kLongestPause; ++i) pause *= 2;
  act_in(now + pause, neighbor);
}

void Neighbors::send_request(net::Ipv4Addr address, net::MacAddr to) {
  const net::ArpFrame request = net::arp_request(own_mac_, own_address_, address, to);
  output_.emplace_back(request.bytes().begin(), request.bytes().end());
  ++counts_.requests;
}

void Neighbors::act_in(SteadyTime time, Neighbor& neighbor) {
  neighbor.next_action = time;
  due_ = std::min(due_, time);
}

void Neighbors::confirm(net::Ipv4Addr address, Neighbor& neighbor, net::MacAddr mac, SteadyTime now) {
  if (neighbor.mac.is_zero()) ++counts_.resolved;
  changed_ |= neighbor.mac != mac;
  change_state(neighbor, State::Reachable);
  neighbor.mac = mac;
  neighbor.requests_sent = 0;
  neighbor.confirmed = now;
  act_in(now + kReachable, neighbor);
  std::erase_if(waiting_, [&](WaitingFrame& frame) {
    if (frame.next_hop != address) return false;
    address_and_send(std::move(frame.bytes), mac);
    return true;
  });
}

void Neighbors::return_overdue(SteadyTime now) {
  const auto young = std::ranges::find_if(
      waiting_, [&](const WaitingFrame& frame) { return now - frame.since < kPatience; });
  for (auto at = waiting_.begin(); at != young; ++at) return_unsent(std::move(at->bytes), at->port);
  waiting_.erase(waiting_.begin(), young);
}

void Neighbors::address_and_send(FrameBytes frame, net::MacAddr mac) {
  auto* ethernet = net::mutable_view<net::EthernetHeader>(frame);
  if (ethernet == nullptr) return;
  ethernet->destination = mac;
  ethernet->source = own_mac_;
  output_.push_back(std::move(frame));
}

}  // namespace vmnat::control
