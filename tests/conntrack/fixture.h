// SPDX-License-Identifier: Apache-2.0
// What the conntrack tests share: a small NAT with one policy, and short ways to say a flow.
//
//   Nat nat({.addresses = 1});
//   Session* session = nat.open("192.168.122.10", 40000, "198.51.100.1", 443);
#pragma once

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>
#include <numeric>
#include <string>
#include <vector>

#include "conntrack/conntrack.h"
#include "tests/support/session_views.h"

namespace vmnat::conntrack {

inline constexpr auto kTcp = net::Protocol::Tcp;
inline constexpr auto kUdp = net::Protocol::Udp;
inline constexpr auto kIcmp = net::Protocol::Icmp;
inline constexpr auto kGre = static_cast<net::Protocol>(47);
inline constexpr auto kOut = Direction::Outbound;
inline constexpr auto kIn = Direction::Inbound;
inline constexpr std::uint8_t kFin = net::TcpHeader::kFin, kSyn = net::TcpHeader::kSyn,
                              kRst = net::TcpHeader::kRst, kAck = net::TcpHeader::kAck;

constexpr Time at_seconds(std::uint32_t seconds) {
  return Time{Ticks{std::chrono::seconds(seconds)}};
}

inline net::Endpoint endpoint(std::string_view address, unsigned port) {
  return {net::parse_ipv4(address).value(), net::L4Port::from_host(static_cast<std::uint16_t>(port))};
}

// What the packet path does by templates, with the direction as a value.
inline Rewrite rewrite_of(const Session& session, Direction direction) {
  return direction == kOut ? session.rewrite<kOut>() : session.rewrite<kIn>();
}
inline void count(Session& session, Direction direction, std::uint32_t bytes) {
  direction == kOut ? session.count<kOut>(bytes) : session.count<kIn>(bytes);
}
inline void keep_alive(Session& session, Direction direction, Time now) {
  direction == kOut ? session.keep_alive<kOut>(now) : session.keep_alive<kIn>(now);
}
inline void follow_tcp(Conntrack& conntrack, Session& session, Direction direction, const TcpSegment& segment,
                       Time now) {
  direction == kOut ? conntrack.follow_tcp<kOut>(session, segment, now)
                    : conntrack.follow_tcp<kIn>(session, segment, now);
}

// Sessions of a VM's port; with `opener`, those that this side has opened.
inline unsigned sessions_of(Conntrack& conntrack, PortIndex vm_port, std::optional<Direction> opener = {}) {
  unsigned count = 0;
  std::uint32_t cursor = 0;
  conntrack.visit_some(cursor, conntrack.capacity(), [&](const Session& session) {
    count += session.vm_port() == vm_port && session.opener() == opener.value_or(session.opener());
  });
  return count;
}

struct NatShape {
  unsigned addresses = 1;  // 203.0.113.1 and following
  std::uint16_t first_port = 1024;
  std::uint16_t last_port = 65535;
  std::vector<std::uint16_t> reserved{};
  std::uint32_t capacity = 4096;
  unsigned workers = 1;
  std::uint64_t seed = 1;
  unsigned vm_ports = 4;
  unsigned guests = 1;
  std::vector<WorkerIndex> homes{};  // of the blocks
  unsigned room = 1;                 // for addresses, at least
  Placement placement{Pages::Huge};
  std::span<Session> records{};  // memory for those of all workers; empty: each has its own
};

// The workers of one NAT gateway with one network; worker 0 unless said otherwise.
class Nat {
 public:
  explicit Nat(const NatShape& shape = {}, NatPolicy policy = {}) : policy_(policy) {
    std::vector<ExternalAddress> addresses;
    for (unsigned i = 0; i < shape.addresses; ++i)
      addresses.push_back({external_address(i), shape.first_port, shape.last_port, shape.reserved});
    indices_.resize(shape.addresses);
    std::iota(indices_.begin(), indices_.end(), ExternalIndex{0});
    policy_.addresses = indices_;
    addresses_ = ExternalAddresses::of(addresses);
    ports_ = ExternalPorts::create(std::max(shape.room, shape.addresses), shape.workers, shape.homes);
    ports_->populate(shape.addresses);
    for (unsigned i = 0; i < shape.workers; ++i) {
      const Conntrack::Settings settings{
          .capacity = shape.capacity,
          .seed = shape.seed + i,
          .worker = static_cast<WorkerIndex>(i),
          .vm_ports = shape.vm_ports,
          .guests = shape.guests,
          .placement = shape.placement,
          .records = shape.records.empty() ? shape.records
                                           : shape.records.subspan(i * shape.capacity, shape.capacity)};
      workers_.push_back(Conntrack::create(settings, *ports_, *addresses_, {&policy_, 1}));
    }
  }
  static net::Ipv4Addr external_address(unsigned i) {
    return net::Ipv4Addr::from_host(net::Ipv4Addr::of(203, 0, 113, 1).host() + i);
  }

  Conntrack& operator*() { return *workers_[0]; }
  Conntrack* operator->() { return workers_[0].get(); }
  Conntrack& worker(unsigned i) { return *workers_[i]; }
  ExternalPorts& ports() { return *ports_; }
  [[nodiscard]] const ExternalAddresses& addresses() const { return *addresses_; }
  [[nodiscard]] const NatPolicy& policy() const { return policy_; }

  Opened try_open(net::Endpoint internal, net::Endpoint remote, net::Protocol protocol = kUdp, Time now = {},
                  PortIndex vm_port = 0) {
    const OutboundFlow flow{
        .key = FlowKey::of(internal, remote, protocol), .vm_port = vm_port, .tcp_flags = kSyn};
    return workers_[0]->open_outbound(flow, 0, now);
  }
  Session* open(net::Endpoint internal, net::Endpoint remote, net::Protocol protocol = kUdp, Time now = {},
                PortIndex vm_port = 0) {
    return try_open(internal, remote, protocol, now, vm_port).session;
  }
  // By a forward to `internal`.
  Opened try_forward(net::Endpoint external, net::Endpoint internal, net::Endpoint remote,
                     net::Protocol protocol, PortIndex vm_port, Time now = {}) {
    const InboundFlow flow{.key = FlowKey::of(external, remote, protocol),
                           .forward_to = internal,
                           .vm_port = vm_port,
                           .tcp_flags = kSyn};
    return workers_[0]->open_inbound(flow, 0, now);
  }
  // By the VM, from the internal endpoint of a forward at `external`.
  Opened try_open_forwarded(net::Endpoint internal, net::Endpoint external, net::Endpoint remote,
                            net::Protocol protocol) {
    const OutboundFlow flow{
        .key = FlowKey::of(internal, remote, protocol), .tcp_flags = kSyn, .static_mapping = external};
    return workers_[0]->open_outbound(flow, 0, {});
  }
  Opened try_inbound(net::Endpoint external, net::Endpoint remote, net::Protocol protocol = kUdp,
                     Time now = {}) {
    return workers_[0]->open_inbound({.key = FlowKey::of(external, remote, protocol), .tcp_flags = kSyn}, 0,
                                     now);
  }
  // A complete turn of the sweep at `now`.
  unsigned expire_all(Time now) {
    unsigned expired = 0;
    for (unsigned second = 0; second < 9; ++second)
      expired += workers_[0]->expire(now + Ticks{std::chrono::seconds(second)}, ~0u);
    return expired;
  }
  [[nodiscard]] std::string broken_invariant() const {
    std::string why;
    for (const auto& worker : workers_)
      if (!worker->check_invariants(&why)) return why;
    return "";
  }

 private:
  NatPolicy policy_;
  std::vector<ExternalIndex> indices_;
  std::shared_ptr<const ExternalAddresses> addresses_;
  std::unique_ptr<ExternalPorts> ports_;
  std::vector<std::unique_ptr<Conntrack>> workers_;
};

}  // namespace vmnat::conntrack
