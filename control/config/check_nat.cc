// SPDX-License-Identifier: Apache-2.0
// Checks of the external side: whose addresses and ports are given out, and to which port forwards listen.
#include <algorithm>
#include <bitset>
#include <map>
#include <set>

#include "control/config/check.h"

namespace vmnat::config {
namespace {

using net::to_string;

void check_range_on_uplink(const AddressRange& range, const Config& config, std::size_t number,
                           const std::string& path, Findings& findings) {
  const Uplink& uplink = uplink_at(config, number);
  const std::string text = "addresses: " + to_text(range), at = uplink_path(config, number),
                    whose = uplink_text(config, number);
  if (findings.has(at + ".gateway") && uplink.gateway && range.contains(*uplink.gateway))
    findings.complain_at(path, text + " includes " + whose + "'s gateway " + to_string(*uplink.gateway));
  if (!findings.has(at + ".address") || !uplink.address) return;
  // What is a pool's goes with its network from one uplink to another.
  if (!config.uplinks.empty() && range.contains(uplink.address->address))
    findings.complain_at(path, text + " includes " + whose + "'s own address " +
                                   to_string(uplink.address->address) +
                                   ", which networks without nat.addresses have while they are on it");
  if (!uplink.address->has_edges()) return;
  const auto edge_text = [&](net::Ipv4Addr edge) {
    return text + " includes " + to_string(edge) + ", the network or broadcast address of " + whose;
  };
  for (const net::Ipv4Addr special : {uplink.address->first(), uplink.address->broadcast()})
    if (range.contains(special)) findings.complain_at(path, edge_text(special));
}

void check_range_against_networks(const AddressRange& range, const Config& config, const std::string& path,
                                  Findings& findings) {
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const Network& inside = config.networks[n];
    if (!findings.has(network_path(n) + ".address")) continue;
    if (range.overlaps({inside.address.first(), inside.address.broadcast()}))
      findings.complain_at(path, "addresses: " + to_text(range) + " overlaps network '" + inside.name +
                                     "' (" + to_string(inside.address) + ")");
  }
}

void check_addresses(const Config& config, const Nat& nat, const std::string& path, Findings& findings) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < nat.addresses.size(); ++i) {
    const std::string at = indexed(path, i);
    if (!findings.has(at)) continue;
    total += nat.addresses[i].size();
    for (std::size_t earlier = 0; earlier < i; ++earlier)
      if (findings.has(indexed(path, earlier)) && nat.addresses[i].overlaps(nat.addresses[earlier]))
        findings.complain_at(
            at, "addresses: " + to_text(nat.addresses[i]) + " overlaps " + to_text(nat.addresses[earlier]));
    check_external_range(nat.addresses[i], config, at, findings);
  }
  if (total > kMostExternalAddresses)
    findings.complain_at(path, "addresses: at most 4096 are possible, these are " + std::to_string(total));
}

// What drains may be part of what there is, no more: else it is a slip of the pen.
void check_drain(const Nat& nat, const std::string& path, Findings& findings) {
  for (std::size_t i = 0; i < nat.drain.size(); ++i) {
    const std::string at = indexed(path, i);
    const AddressRange& range = nat.drain[i];
    if (!findings.has(at)) continue;
    std::uint64_t ours = 0;
    for (const AddressRange& own : nat.addresses) {
      if (own == AddressRange{}) return;  // a misread range may be anything
      if (!own.overlaps(range)) continue;
      ours += AddressRange{std::max(own.first, range.first), std::min(own.last, range.last)}.size();
    }
    if (ours < range.size())
      findings.complain_at(at, "drain: " + to_text(range) + " is not among the addresses of this network");
  }
}

void check_reserved_ports(const Nat& nat, const std::string& path, Findings& findings) {
  std::bitset<65536> reserved;
  for (std::size_t i = 0; i < nat.reserved_ports.size(); ++i) {
    const std::string at = indexed(path, i);
    const PortRange& range = nat.reserved_ports[i];
    if (!findings.has(at)) continue;
    if (!nat.ports.contains(range.first) || !nat.ports.contains(range.last))
      findings.complain_at(
          at, "reserved_ports: " + to_text(range) + " is not within ports " + to_text(nat.ports));
    for (unsigned port = range.first.host(); port <= range.last.host(); ++port)
      if (nat.ports.contains(net::L4Port::from_host(static_cast<std::uint16_t>(port)))) reserved.set(port);
  }
  if (reserved.count() == nat.ports.size())
    findings.complain_at(path, "reserved_ports: no port of " + to_text(nat.ports) + " is left");
}

void check_forward_target(const Network& network, const PortForward& forward, net::Endpoint to,
                          const std::string& path, Findings& findings) {
  const net::Ipv4Addr target = to.address;
  if (to.port.host() + forward.port.size() - 1 > 65535)
    return findings.complain_at(path, "to: " + to_string(to) + " is too high for the " +
                                          std::to_string(forward.port.size()) + " ports of the range");
  if (!network.address.contains(target))
    return findings.complain_at(path, "to: " + to_string(target) + " is not within network '" + network.name +
                                          "' (" + to_string(network.address) + ")");
  if (target == network.address.address)
    return findings.complain_at(path, "to: " + to_string(target) + " is the gateway's address");
  check_is_host_of(network.address, target, path, "to", findings);
}

void check_forward_targets(const Network& network, const PortForward& forward, const std::string& path,
                           Findings& findings) {
  Unique<net::Endpoint> targets("to:", findings);
  for (std::size_t i = 0; i < forward.to.size(); ++i) {
    if (forward.to[i] == net::Endpoint{}) continue;  // it was misread
    const std::string element = indexed(path, i), at = findings.has(element) ? element : path;
    check_forward_target(network, forward, forward.to[i], at, findings);
    targets.add(forward.to[i], at, to_string(forward.to[i]));
  }
}

void check_forward_address(const Nat& nat, const PortForward& forward, const std::string& path,
                           Findings& findings) {
  const auto& ranges = nat.addresses;
  if (!forward.address || ranges.empty()) return;
  const bool ours = std::any_of(ranges.begin(), ranges.end(), [&](const AddressRange& range) {
    return range == AddressRange{} || range.contains(*forward.address);  // a misread range may be anything
  });
  if (!ours)
    findings.complain_at(
        path, "address: " + to_string(*forward.address) + " is not an external address of this network");
}

// Counts the external addresses of all networks and the uplink, each once.
class AddressCount {
 public:
  explicit AddressCount(const Config& config) {
    for (std::size_t i = 0; i < uplink_count(config); ++i)
      if (const auto& address = uplink_at(config, i).address) addresses_.insert(address->address);
  }

  // Complains at the network that makes them too many. check_addresses complains of one with too many by
  // itself.
  void add(const Network& network, const std::string& path, Findings& findings) {
    std::uint64_t own = 0;
    for (const AddressRange& range : network.nat.addresses) own += range.size();
    if (own > kMostExternalAddresses || addresses_.size() > kMostExternalAddresses) return;
    const std::vector<net::Ipv4Addr> external = external_addresses(network);
    addresses_.insert(external.begin(), external.end());
    for (const StaticNat& pair : network.nat.static_nat) addresses_.insert(pair.external);
    for (const NatRule& rule : network.nat.rules) add(rule);
    if (addresses_.size() > kMostExternalAddresses)
      findings.complain_at(path,
                           "addresses: at most 4096 are possible for all networks and the uplink, with "
                           "these it is " +
                               std::to_string(addresses_.size()));
  }

 private:
  // One with too many is complained of where it stands.
  void add(const NatRule& rule) {
    for (const AddressRange& range : rule.addresses)
      if (range.size() > kMostExternalAddresses) return;
    const auto all = all_of(rule.addresses);
    addresses_.insert(all.begin(), all.end());
  }

  std::set<net::Ipv4Addr> addresses_;
};

// No address stands for the uplink's, which DHCP will give, or for that of any of several.
bool share_an_address(const Nat& a, const Nat& b) {
  if (a.addresses.empty() || b.addresses.empty()) return a.addresses.empty() && b.addresses.empty();
  return std::ranges::any_of(a.addresses, [&](const AddressRange& left) {
    return std::ranges::any_of(b.addresses, [&](const AddressRange& right) { return left.overlaps(right); });
  });
}

// Networks on one address give out the ports that all of them allow: there must be some.
void check_ports_in_common(const Config& config, std::size_t n, Findings& findings) {
  const Network& network = config.networks[n];
  const std::string path = network_path(n) + ".nat.ports";
  if (network.forward != Forward::Nat || !findings.has(path)) return;
  for (std::size_t other = 0; other < config.networks.size(); ++other) {
    const Network& with = config.networks[other];
    const std::string with_path = network_path(other) + ".nat.ports";
    const bool is_told_there = other > n && findings.has(with_path);
    if (other == n || is_told_there || with.forward != Forward::Nat) continue;
    const bool meet =
        network.nat.ports.first <= with.nat.ports.last && with.nat.ports.first <= network.nat.ports.last;
    if (meet || !share_an_address(network.nat, with.nat)) continue;
    return findings.complain_at(
        path, "ports: " + to_text(network.nat.ports) + " and the " + to_text(with.nat.ports) +
                  " of network '" + with.name +
                  "' have none in common, but an external address: give one of them another");
  }
}

// The forwards of all networks, to find two that listen to the same.
class ForwardClashes {
 public:
  explicit ForwardClashes(Findings& findings) : findings_(findings) {}

  void add(const Nat& nat, const PortForward& forward, const std::string& path) {
    if (!findings_.has(path + ".port") || !findings_.has(path + ".protocol")) return;
    if (findings_.given.contains(path + ".from") && !findings_.has(path + ".from")) return;
    Listener listener{findings_.marks.at(path + ".port"), nat.addresses, forward.protocol, forward.port,
                      forward.from};
    if (forward.address) listener.addresses = {{*forward.address, *forward.address}};
    if (listener.addresses.empty()) listener.addresses = {{}};  // the uplink's, not known before its DHCP
    const bool is_single = forward.port.size() == 1;
    auto& others = is_single ? singles_[{forward.protocol, forward.port.first}] : ranges_;
    const Listener* clash = clash_in(others, listener);
    if (clash == nullptr && is_single) clash = clash_in(ranges_, listener);
    if (clash == nullptr && !is_single) clash = clash_in_singles(listener);
    if (clash != nullptr) complain(listener, *clash);
    others.push_back(std::move(listener));
  }

 private:
  struct Listener {
    Position at;
    std::vector<AddressRange> addresses;
    net::Protocol protocol;
    PortRange ports;
    std::optional<net::Ipv4Prefix> from;
  };
  using Listeners = std::vector<Listener>;

  static const Listener* clash_in(const Listeners& others, const Listener& listener) {
    const auto found =
        std::ranges::find_if(others, [&](const Listener& other) { return meet(other, listener); });
    return found == others.end() ? nullptr : &*found;
  }
  [[nodiscard]] const Listener* clash_in_singles(const Listener& range) const {
    for (auto at = singles_.lower_bound({range.protocol, range.ports.first}); at != singles_.end(); ++at) {
      if (at->first.first != range.protocol || at->first.second > range.ports.last) break;
      if (const Listener* clash = clash_in(at->second, range)) return clash;
    }
    return nullptr;
  }
  void complain(const Listener& listener, const Listener& other) {
    const std::string protocol{to_word(listener.protocol)};
    findings_.complain(listener.at, "port: " + protocol + " port " + to_text(listener.ports) +
                                        " is already forwarded " + findings_.place(other.at, listener.at));
  }
  // Of two that are for other remotes, the one for fewer remotes goes first.
  static bool meet(const Listener& a, const Listener& b) {
    const bool share_ports = a.ports.first <= b.ports.last && b.ports.first <= a.ports.last;
    if (a.protocol != b.protocol || !share_ports || a.from != b.from) return false;
    return std::any_of(a.addresses.begin(), a.addresses.end(), [&](const AddressRange& left) {
      return std::any_of(b.addresses.begin(), b.addresses.end(),
                         [&](const AddressRange& right) { return left.overlaps(right); });
    });
  }

  Findings& findings_;
  std::map<std::pair<net::Protocol, net::L4Port>, Listeners> singles_;
  Listeners ranges_;
};

// Each port of each address is an entry in the workers' table.
void check_forward_count(const Config& config, Findings& findings) {
  constexpr std::uint64_t kMostForwardedPorts = 65536;
  std::uint64_t total = 0;
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const Nat& nat = config.networks[n].nat;
    std::uint64_t addresses = 0;
    for (const AddressRange& range : nat.addresses) addresses += range.size();
    for (std::size_t i = 0; i < nat.forwards.size(); ++i) {
      const std::string path = indexed(network_path(n) + ".nat.forwards", i) + ".port";
      if (!findings.has(path)) continue;
      const std::uint64_t before = total;
      total +=
          nat.forwards[i].port.size() * (nat.forwards[i].address ? 1 : std::max<std::uint64_t>(addresses, 1));
      if (before <= kMostForwardedPorts && total > kMostForwardedPorts)
        findings.complain_at(path,
                             "port: at most " + std::to_string(kMostForwardedPorts) +
                                 " ports can be forwarded, each external address counted; with these it is " +
                                 std::to_string(total));
    }
  }
}

void check_forwards(const Network& network, const std::string& path, bool network_is_known,
                    ForwardClashes& clashes, Findings& findings) {
  for (std::size_t i = 0; i < network.nat.forwards.size(); ++i) {
    const PortForward& forward = network.nat.forwards[i];
    const std::string at = indexed(path, i);
    if (network_is_known && findings.has(at + ".port"))
      check_forward_targets(network, forward, at + ".to", findings);
    check_forward_address(network.nat, forward, at + ".address", findings);
    clashes.add(network.nat, forward, at);
  }
}

}  // namespace

void check_external_range(const AddressRange& range, const Config& config, const std::string& path,
                          Findings& findings) {
  for (std::size_t i = 0; i < uplink_count(config); ++i)
    check_range_on_uplink(range, config, i, path, findings);
  check_range_against_networks(range, config, path, findings);
}

void check_nat(const Config& config, Findings& findings) {
  ForwardClashes clashes(findings);
  AddressCount addresses(config);
  for (std::size_t n = 0; n < config.networks.size(); ++n) {
    const Network& network = config.networks[n];
    const std::string path = network_path(n) + ".nat";
    if (network.forward == Forward::None)
      findings.complain_at(path, "nat: this network is isolated (forward: none)");
    if (network.forward == Forward::Route)
      findings.complain_at(path, "nat: this network is routed, and not translated (forward: route)");
    check_addresses(config, network.nat, path + ".addresses", findings);
    addresses.add(network, path + ".addresses", findings);
    check_drain(network.nat, path + ".drain", findings);
    check_ports_in_common(config, n, findings);
    check_reserved_ports(network.nat, path + ".reserved_ports", findings);
    check_forwards(network, path + ".forwards", findings.has(network_path(n) + ".address"), clashes,
                   findings);
  }
  check_forward_count(config, findings);
  check_static_nat(config, findings);
  check_nat_rules(config, findings);
}

}  // namespace vmnat::config
