// SPDX-License-Identifier: Apache-2.0
// ModelNat: a NAT from std::map alone, which says what a Conntrack may answer.
//
// It does not choose external endpoints; it judges the choice: unique, from the pool, the mapping's own when
// there is one, overloaded only when nothing else is left, refused only when no legal tuple is left.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "tests/conntrack/fixture.h"

namespace vmnat::conntrack {

inline std::string number_of(Verdict verdict) {
  return "verdict " + std::to_string(static_cast<unsigned>(verdict));
}

class ModelNat {
 public:
  struct Flow {
    net::Protocol protocol;
    net::Endpoint local;
    net::Endpoint remote;
    auto operator<=>(const Flow&) const = default;
  };
  struct Entry {
    net::Endpoint external;
    SessionState state;
    Time last_seen;
    bool spoken;           // the VM has sent
    bool invited = false;  // the remote opened it
    std::uint64_t packets[2] = {0, 0};
  };
  using External = std::pair<net::Protocol, net::Endpoint>;

  ModelNat(const NatShape& shape, const NatPolicy& policy) : shape_(shape), policy_(policy) {
    for (unsigned address = 0; address < shape.addresses; ++address) {
      for (unsigned port = shape.first_port; port <= shape.last_port; ++port) {
        if (std::ranges::find(shape.reserved, port) != shape.reserved.end()) continue;
        pool_.insert(
            {Nat::external_address(address), net::L4Port::from_host(static_cast<std::uint16_t>(port))});
      }
      addresses_.insert({Nat::external_address(address), net::L4Port{}});
    }
  }

  [[nodiscard]] const std::map<Flow, Entry>& sessions() const { return sessions_; }
  [[nodiscard]] const Entry* find(const Flow& flow) const {
    const auto at = sessions_.find(flow);
    return at == sessions_.end() ? nullptr : &at->second;
  }

  // What is wrong with this answer to a new outbound flow; empty: nothing. Takes the session over.
  std::string judge_outbound(const Flow& flow, Verdict verdict, const Session* session, Time now) {
    if (verdict == Verdict::TableFull)
      return sessions_.size() == shape_.capacity ? "" : "refused before the table is full";
    if (verdict == Verdict::NoFreePort) return why_refusal_is_wrong(flow);
    if (verdict != Verdict::Opened) return number_of(verdict);
    if (sessions_.size() == shape_.capacity) return "opened beyond the capacity";
    const net::Endpoint external = session->external();
    if (!pool_of(flow.protocol).contains(external)) return "not in the pool: " + net::to_string(external);
    if (by_external_.contains({flow.protocol, external, flow.remote})) return "the tuple is taken";
    if (const std::string why = why_choice_is_wrong(flow, external); !why.empty()) return why;
    add(flow, external, first_state(flow, Direction::Outbound), true, now);
    return "";
  }
  // The same for an inbound one (external, remote) without a session.
  std::string judge_inbound(const Flow& flow, Verdict verdict, const Session* session, Time now) {
    const std::optional<net::Endpoint> internal = admitted(flow);
    if (verdict == Verdict::Filtered) return internal ? "filtered, but the policy lets it in" : "";
    if (!internal) return "let in against the policy";
    if (verdict == Verdict::TableFull)
      return sessions_.size() == shape_.capacity ? "" : "refused before the table is full";
    if (verdict == Verdict::SessionLimit) return invited() >= half() ? "" : "refused before its half is full";
    if (verdict != Verdict::Opened) return number_of(verdict);
    if (session->internal() != *internal) return "let in to another internal endpoint";
    const Flow outbound{flow.protocol, *internal, flow.remote};
    add(outbound, flow.local, first_state(flow, Direction::Inbound), false, now);
    sessions_.at(outbound).invited = true;
    return "";
  }
  // This session has gone for the one that was just opened.
  std::string judge_early_drop(const Flow& flow) {
    const Entry& entry = sessions_.at(flow);
    if (sessions_.size() < shape_.capacity && invited() < half()) return "dropped though there is room";
    const bool is_answered = entry.packets[0] > 0 && entry.packets[1] > 0;
    if (flow.protocol == kTcp ? timeout_class(entry.state) == TimeoutClass::TcpEstablished : is_answered)
      return "an assured session was dropped";
    remove(flow);
    return "";
  }
  // `is_credible`: the segment of a remote has the numbers that it would have.
  void see_packet(const Flow& outbound, Direction direction, std::uint8_t flags, bool is_credible, Time now) {
    Entry& entry = sessions_.at(outbound);
    ++entry.packets[static_cast<unsigned>(direction)];
    if (outbound.protocol == kTcp) return see_segment(entry, direction, flags, is_credible, now);
    const unsigned answers = entry.invited ? 0 : 1;
    if (entry.state == SessionState::AskedUdp && static_cast<unsigned>(direction) != answers &&
        entry.packets[answers] > 0)
      entry.state = SessionState::OpenUdp;
    if (direction == kOut) entry.spoken = true;
    if (entry.spoken) entry.last_seen = now;
  }
  [[nodiscard]] bool is_expired(const Entry& entry, Time now) const {
    const auto& t = policy_.timeouts;
    const Ticks limits[] = {
        t.tcp_established, t.tcp_transitory, t.udp, std::min(t.udp, t.udp_answered), t.icmp, t.other};
    return now - entry.last_seen >= limits[static_cast<unsigned>(timeout_class(entry.state))];
  }
  void remove(Flow flow) {  // a copy: it may stand in what is erased
    const net::Endpoint external = sessions_.at(flow).external;
    sessions_.erase(flow);
    by_external_.erase({flow.protocol, external, flow.remote});
    auto& users = users_[{flow.protocol, external}];
    if (--users > 0) return;
    users_.erase({flow.protocol, external});
    const auto bound = bound_.find({flow.protocol, external});
    if (bound == bound_.end()) return;
    mapping_.erase({flow.protocol, bound->second});
    bound_.erase(bound);
  }
  [[nodiscard]] std::size_t mappings() const { return mapping_.size(); }

 private:
  static bool is_open(SessionState state) { return timeout_class(state) == TimeoutClass::TcpEstablished; }
  // What a stranger says neither opens nor closes; what a remote says starts the time of the end, at most.
  static void see_segment(Entry& entry, Direction direction, std::uint8_t flags, bool is_credible, Time now) {
    const SessionState before = entry.state, after = tcp_state_after(before, direction, flags);
    if (!is_credible && (is_open(before) || is_open(after))) return;
    if (direction == kIn && !entry.invited && !is_open(before) && is_open(after)) return;  // the VM's to say
    entry.state = after;
    const bool has_ended = after == SessionState::Closing || after == SessionState::Reset;
    if (direction == kOut ? after != before || !has_ended : is_open(before) && has_ended)
      entry.last_seen = now;
  }
  [[nodiscard]] std::size_t half() const { return shape_.capacity / 2; }
  [[nodiscard]] std::size_t invited() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(sessions_, [](const auto& each) { return each.second.invited; }));
  }
  static bool has_ports(net::Protocol protocol) { return port_space(protocol) != PortSpace::None; }
  static SessionState first_state(const Flow& flow, Direction direction) {
    const net::Protocol protocol = flow.protocol;
    if (protocol == kTcp) return direction == kOut ? SessionState::SynOutbound : SessionState::SynInbound;
    if (protocol == kUdp)
      return direction == kOut && flow.remote.port.host() < 1024 ? SessionState::AskedUdp
                                                                 : SessionState::OpenUdp;
    return protocol == kIcmp ? SessionState::OpenIcmp : SessionState::OpenOther;
  }
  [[nodiscard]] const std::set<net::Endpoint>& pool_of(net::Protocol protocol) const {
    return has_ports(protocol) ? pool_ : addresses_;
  }
  [[nodiscard]] std::size_t used_ports(net::Protocol protocol) const {
    const net::Endpoint none{};
    std::size_t used = 0;
    for (auto at = users_.lower_bound({protocol, none}); at != users_.end() && at->first.first == protocol;
         ++at)
      ++used;
    return used;
  }
  [[nodiscard]] bool is_taken(const Flow& flow, net::Endpoint external) const {
    return by_external_.contains({flow.protocol, external, flow.remote});
  }
  [[nodiscard]] std::optional<net::Endpoint> mapping_of(const Flow& flow) const {
    const auto at = mapping_.find({flow.protocol, flow.local});
    return at == mapping_.end() ? std::nullopt : std::optional(at->second);
  }
  [[nodiscard]] std::string why_choice_is_wrong(const Flow& flow, net::Endpoint external) const {
    if (!has_ports(flow.protocol)) return "";
    const auto mapping = mapping_of(flow);
    if (mapping && !is_taken(flow, *mapping))
      return external == *mapping ? "" : "not the mapping's external endpoint";
    if (!users_.contains({flow.protocol, external})) return "";
    if (used_ports(flow.protocol) < pool_.size()) return "overloaded while a port is free";
    return policy_.overload ? "" : "overloaded against the policy";
  }
  [[nodiscard]] std::string why_refusal_is_wrong(const Flow& flow) const {
    if (const auto mapping = mapping_of(flow); mapping && !is_taken(flow, *mapping))
      return "refused though mapped";
    if (has_ports(flow.protocol) && used_ports(flow.protocol) < pool_.size())
      return "refused while a port is free";
    if (has_ports(flow.protocol) && !policy_.overload) return "";
    for (const net::Endpoint& external : pool_of(flow.protocol))
      if (!is_taken(flow, external)) return "refused while a tuple is free: " + net::to_string(external);
    return "";
  }
  [[nodiscard]] std::optional<net::Endpoint> admitted(const Flow& inbound) const {
    const auto bound = bound_.find({inbound.protocol, inbound.local});
    if (bound == bound_.end() || sessions_.contains({inbound.protocol, bound->second, inbound.remote}))
      return std::nullopt;
    if (policy_.filtering == Filtering::EndpointIndependent) return bound->second;
    if (policy_.filtering == Filtering::AddressAndPortDependent) return std::nullopt;
    const auto at =
        by_external_.lower_bound({inbound.protocol, inbound.local, {inbound.remote.address, net::L4Port{}}});
    const bool known = at != by_external_.end() && at->first.protocol == inbound.protocol &&
                       at->first.local == inbound.local && at->first.remote.address == inbound.remote.address;
    return known ? std::optional(bound->second) : std::nullopt;
  }
  void add(const Flow& flow, net::Endpoint external, SessionState state, bool spoken, Time now) {
    if (policy_.mapping == Mapping::EndpointIndependent && has_ports(flow.protocol) && !mapping_of(flow) &&
        !users_.contains({flow.protocol, external})) {
      mapping_[{flow.protocol, flow.local}] = external;
      bound_[{flow.protocol, external}] = flow.local;
    }
    sessions_[flow] = {external, state, now, spoken};
    by_external_[{flow.protocol, external, flow.remote}] = flow;
    ++users_[{flow.protocol, external}];
  }

  NatShape shape_;
  NatPolicy policy_;
  std::set<net::Endpoint> pool_, addresses_;
  std::map<Flow, Entry> sessions_;                     // by (protocol, internal, remote)
  std::map<Flow, Flow> by_external_;                   // (protocol, external, remote) to the session's key
  std::map<External, std::size_t> users_;              // sessions of an external endpoint
  std::map<External, net::Endpoint> mapping_, bound_;  // internal to external, and back
};

}  // namespace vmnat::conntrack
