// SPDX-License-Identifier: Apache-2.0
#include "control/neighbors.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "dataplane/net/wire.h"

namespace vmnat::control {
namespace {

constexpr std::size_t kMinimumFrame = 60;  // without FCS
constexpr int kUnicastProbes = 1;

}  // namespace

FrameBytes arp_request(net::MacAddr own_mac, net::Ipv4Addr own_address, net::Ipv4Addr target,
                       net::MacAddr to) {
  const net::EthernetHeader ethernet{
      .destination = to,
      .source = own_mac,
      .type = net::Be16::from_host(static_cast<std::uint16_t>(net::EtherType::Arp))};
  const net::ArpPacket arp{
      .hardware_type = net::Be16::from_host(1),
      .protocol_type = net::Be16::from_host(0x0800),
      .hardware_length = 6,
      .protocol_length = 4,
      .operation = net::Be16::from_host(static_cast<std::uint16_t>(net::ArpOperation::Request)),
      .sender_mac = own_mac,
      .sender_address = own_address,
      .target_mac = {},
      .target_address = target};
  FrameBytes frame(kMinimumFrame);
  std::memcpy(frame.data(), &ethernet, sizeof ethernet);
  std::memcpy(frame.data() + sizeof ethernet, &arp, sizeof arp);
  return frame;
}

const char* to_string(Neighbors::State state) {
  switch (state) {
    case Neighbors::State::Incomplete:
      return "incomplete";
    case Neighbors::State::Reachable:
      return "reachable";
    case Neighbors::State::Probing:
      return "probing";
  }
  return "?";
}

void Neighbors::keep_resolved(net::Ipv4Addr address, SteadyTime now) {
  Neighbor& neighbor = neighbors_[address];
  neighbor.is_permanent = true;
  if (neighbor.state == State::Incomplete) ask(address, neighbor, now);
}

void Neighbors::start_over(net::Ipv4Addr own_address) {
  own_address_ = own_address;
  counts_.waiting_dropped += waiting_;
  waiting_ = 0;
  changed_ |= !neighbors_.empty();
  neighbors_.clear();
}

void Neighbors::announce(net::Ipv4Addr address) {
  output_.push_back(arp_request(own_mac_, address, address, net::kBroadcastMac));
}

void Neighbors::send_to(net::Ipv4Addr next_hop, FrameBytes frame, SteadyTime now) {
  const auto known = neighbors_.find(next_hop);
  if (known == neighbors_.end() && neighbors_.size() >= kMaxNeighbors) {
    ++counts_.waiting_dropped;
    return;
  }
  Neighbor& neighbor = neighbors_[next_hop];
  if (neighbor.state != State::Incomplete) return address_and_send(std::move(frame), neighbor.mac);
  if (neighbor.waiting.size() >= kWaitingPerNeighbor || waiting_ >= kWaitingInAll) {
    ++counts_.waiting_dropped;
  } else {
    neighbor.waiting.push_back({std::move(frame), now});
    ++waiting_;
  }
  if (neighbor.requests_sent == 0) ask(next_hop, neighbor, now);
}

void Neighbors::receive_arp(std::span<const std::byte> frame, SteadyTime now) {
  const auto* arp = net::view<net::ArpPacket>(frame, sizeof(net::EthernetHeader));
  if (arp == nullptr || !arp->is_ethernet_ipv4() || arp->op() != net::ArpOperation::Reply) return;
  if (arp->sender_mac.is_group() || arp->sender_mac.is_zero()) return;
  const auto asked = neighbors_.find(arp->sender_address);
  if (asked == neighbors_.end()) return;
  Neighbor& neighbor = asked->second;
  const bool is_news = arp->sender_mac != neighbor.mac;
  const bool is_answer =
      neighbor.state == State::Incomplete ||
      (neighbor.state == State::Probing && (!is_news || neighbor.requests_sent > kUnicastProbes));
  if (is_answer) {
    ++counts_.replies;
    return confirm(neighbor, arp->sender_mac, now);
  }
  // Not believed, but a reason to ask soon, at most once a second: a router may have failed over.
  if (is_news && neighbor.state == State::Reachable)
    neighbor.next_action = std::max(now, neighbor.confirmed + kRetransmit);
}

void Neighbors::advance(SteadyTime now) {
  for (auto at = neighbors_.begin(); at != neighbors_.end();) {
    auto& [address, neighbor] = *at;
    drop_overdue(neighbor, now);
    if (now < neighbor.next_action) {
      ++at;
      continue;
    }
    if (neighbor.state == State::Reachable) {
      neighbor.state = State::Probing;
      neighbor.requests_sent = 0;
    }
    if (neighbor.requests_sent < kRequests) {
      ask(address, neighbor, now);
      ++at;
      continue;
    }
    at = give_up(address, neighbor, now) ? std::next(at) : neighbors_.erase(at);
  }
}

bool Neighbors::give_up(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now) {
  ++counts_.failed;
  changed_ |= neighbor.state == State::Probing;
  neighbor.state = State::Incomplete;
  neighbor.mac = {};
  neighbor.requests_sent = 0;
  if (!neighbor.is_permanent && neighbor.waiting.empty()) return false;
  ask(address, neighbor, now);
  return true;
}

net::MacAddr Neighbors::mac_of(net::Ipv4Addr address) const {
  const auto known = neighbors_.find(address);
  return known == neighbors_.end() ? net::MacAddr{} : known->second.mac;
}

// A known neighbour is asked by unicast first, then by broadcast: it may have got a new MAC.
void Neighbors::ask(net::Ipv4Addr address, Neighbor& neighbor, SteadyTime now) {
  const bool by_unicast = neighbor.state == State::Probing && neighbor.requests_sent < kUnicastProbes;
  output_.push_back(
      arp_request(own_mac_, own_address_, address, by_unicast ? neighbor.mac : net::kBroadcastMac));
  ++neighbor.requests_sent;
  ++counts_.requests;
  neighbor.next_action = now + kRetransmit;
}

void Neighbors::confirm(Neighbor& neighbor, net::MacAddr mac, SteadyTime now) {
  if (neighbor.state == State::Incomplete) ++counts_.resolved;
  changed_ |= neighbor.mac != mac;
  neighbor.state = State::Reachable;
  neighbor.mac = mac;
  neighbor.requests_sent = 0;
  neighbor.confirmed = now;
  neighbor.next_action = now + kReachable;
  while (!neighbor.waiting.empty()) {
    address_and_send(std::move(neighbor.waiting.front().bytes), mac);
    neighbor.waiting.pop_front();
    --waiting_;
  }
}

void Neighbors::drop_overdue(Neighbor& neighbor, SteadyTime now) {
  while (!neighbor.waiting.empty() && now - neighbor.waiting.front().since >= kPatience) {
    neighbor.waiting.pop_front();
    --waiting_;
    ++counts_.waiting_dropped;
  }
}

void Neighbors::address_and_send(FrameBytes frame, net::MacAddr mac) {
  auto* ethernet = net::mutable_view<net::EthernetHeader>(frame);
  if (ethernet == nullptr) return;
  ethernet->destination = mac;
  ethernet->source = own_mac_;
  output_.push_back(std::move(frame));
}

}  // namespace vmnat::control
