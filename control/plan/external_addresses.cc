// SPDX-License-Identifier: Apache-2.0
#include "control/plan/external_addresses.h"

#include <algorithm>
#include <bit>
#include <map>
#include <tuple>

#include "control/plan/static_nat.h"

namespace vmnat::control {
namespace {

using conntrack::AllowedPorts;
using conntrack::ExternalAddresses;
using Entry = ExternalAddresses::Entry;
using Ports = std::shared_ptr<const AllowedPorts>;

void append(const config::PortRange& range, std::vector<std::uint16_t>& ports) {
  for (std::uint32_t port = range.first.host(); port <= range.last.host(); ++port)
    ports.push_back(static_cast<std::uint16_t>(port));
}

std::vector<std::uint16_t> expanded(const std::vector<config::PortRange>& ranges) {
  std::vector<std::uint16_t> ports;
  for (const auto& range : ranges) append(range, ports);
  return ports;
}

// What the network's flows may be given on addresses that no forward names.
AllowedPorts usual_ports(const config::Nat& nat) {
  std::vector<std::uint16_t> reserved = expanded(nat.reserved_ports);
  for (const config::PortForward& forward : nat.forwards)
    if (!forward.address) append(forward.port, reserved);
  return {nat.ports.first.host(), nat.ports.last.host(), reserved};
}

// Makes the ports of each address, those that are equal once: a pool of 4096 addresses has few kinds.
class PortsOfAddresses {
 public:
  explicit PortsOfAddresses(const config::Config& config) : config_(config) {
    for (const config::Network& network : config.networks) {
      usual_.push_back(std::make_shared<const AllowedPorts>(usual_ports(network.nat)));
      for (const config::PortForward& forward : network.nat.forwards)
        if (forward.address) append(forward.port, named_[*forward.address]);
    }
  }

  // `networks`: those that have the address.
  Ports of(net::Ipv4Addr address, const std::vector<std::size_t>& networks) {
    Ports& ports = made_[{networks, named_on(address, networks)}];
    if (ports == nullptr) ports = made(networks, named_on(address, networks));
    return ports;
  }

 private:
  // Ports of forwards that name the address. A rented one may become any.
  [[nodiscard]] std::vector<std::uint16_t> named_on(net::Ipv4Addr address,
                                                    const std::vector<std::size_t>& networks) const {
    if (!is_rented_place(address)) {
      const auto named = named_.find(address);
      return named == named_.end() ? std::vector<std::uint16_t>{} : named->second;
    }
    std::vector<std::uint16_t> ports;
    for (const std::size_t network : networks)
      for (const config::PortForward& forward : config_.networks[network].nat.forwards)
        append(forward.port, ports);
    return ports;
  }
  [[nodiscard]] Ports made(const std::vector<std::size_t>& networks,
                           const std::vector<std::uint16_t>& named) const {
    if (networks.empty()) return std::make_shared<const AllowedPorts>();  // no pool's
    if (networks.size() == 1 && named.empty()) return usual_[networks.front()];
    AllowedPorts ports(1, 65535, named);
    for (const std::size_t network : networks) ports = AllowedPorts::common(ports, *usual_[network]);
    return std::make_shared<const AllowedPorts>(ports);
  }

  const config::Config& config_;
  std::vector<Ports> usual_;  // by network
  std::map<net::Ipv4Addr, std::vector<std::uint16_t>> named_;
  std::map<std::tuple<std::vector<std::size_t>, std::vector<std::uint16_t>>, Ports> made_;
};

std::vector<net::Ipv4Addr> in_one(const std::vector<std::vector<net::Ipv4Addr>>& lists) {
  std::vector<net::Ipv4Addr> all;
  for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

net::Ipv4Addr own_address(const config::Config& config, std::size_t uplink) {
  const auto& address = config::uplink_at(config, uplink).address;
  return address ? address->address : rented_place(uplink);
}

// The network has the address of whichever of several uplinks it is on.
bool is_movable(const config::Config& config, const config::Network& network) {
  if (config.uplinks.empty() || network.forward != config::Forward::Nat) return false;
  const auto addresses = planned_addresses(network);
  for (std::size_t i = 0; i < config.uplinks.size(); ++i)
    if (addresses.front() == own_address(config, i)) return true;
  return false;
}

// The address, and the networks that have it. In the order of the file, the uplinks' own first.
using Users = std::vector<std::pair<net::Ipv4Addr, std::vector<std::size_t>>>;

// What may come to an uplink's address may use its ports from the start: so nothing has to be made ready when it comes.
Users users_of_own_addresses(const config::Config& config) {
  std::vector<std::size_t> movable;
  for (std::size_t i = 0; i < config.networks.size(); ++i)
    if (is_movable(config, config.networks[i])) movable.push_back(i);
  Users users;
  for (std::size_t i = 0; i < config::uplink_count(config); ++i)
    users.emplace_back(own_address(config, i), movable);
  return users;
}

Users users_of_addresses(const config::Config& config) {
  Users users = users_of_own_addresses(config);
  std::map<net::Ipv4Addr, std::size_t> at;
  for (std::size_t i = 0; i < users.size(); ++i) at.emplace(users[i].first, i);
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    for (const net::Ipv4Addr address : in_one(planned_pools(config.networks[i]))) {
      const auto [known, is_new] = at.emplace(address, users.size());
      if (is_new) users.emplace_back(address, std::vector<std::size_t>{});
      auto& networks = users[known->second].second;
      if (std::ranges::find(networks, i) == networks.end()) networks.push_back(i);
    }
  }
  for (const dataplane::AddressPair& pair : plan_static_nat(config)) users.push_back({pair.external, {}});
  return users;
}

std::optional<conntrack::ExternalIndex> index_in(const ExternalAddresses& external, net::Ipv4Addr planned) {
  if (!is_rented_place(planned)) return external.index_of(planned);
  for (unsigned i = 0; i < external.size(); ++i)
    if (external.ports(i) != nullptr && external.address(i) == planned)
      return static_cast<conntrack::ExternalIndex>(i);
  return std::nullopt;
}

// One index after the other that neither the plan so far nor what runs has in use.
class FreeIndices {
 public:
  explicit FreeIndices(const ExternalAddresses* running) : running_(running) {}
  std::size_t next() {
    while (running_ != nullptr && running_->ports(static_cast<unsigned>(next_)) != nullptr) ++next_;
    return next_++;
  }

 private:
  const ExternalAddresses* running_;
  std::size_t next_ = 0;
};

std::vector<conntrack::ExternalIndex> indices_of(const std::vector<net::Ipv4Addr>& addresses,
                                                 const ExternalAddresses& external) {
  std::vector<conntrack::ExternalIndex> indices;
  indices.reserve(addresses.size());
  for (const net::Ipv4Addr address : addresses) indices.push_back(index_in(external, address).value());
  return indices;
}

void keep_if_equal(Ports& ports, const ExternalAddresses& running, unsigned index) {
  const Ports& former = running.entries()[index].ports;
  if (*former == *ports) ports = former;
}

}  // namespace

NetworkWays preferred_ways(const config::Config& config) {
  NetworkWays ways;
  for (const config::Network& network : config.networks)
    ways.push_back(static_cast<PortIndex>(config::preferred_uplink(config, network.name)));
  return ways;
}

config::Config on_uplinks(const config::Config& config, const NetworkWays& ways) {
  config::Config written = config;
  if (config.uplinks.empty()) return written;
  for (std::size_t i = 0; i < written.networks.size(); ++i) {
    config::Network& network = written.networks[i];
    const net::Ipv4Addr own = own_address(config, way_of(ways, i));
    if (network.forward == config::Forward::Nat && network.nat.addresses.empty())
      network.nat.addresses = {{own, own}};
  }
  return written;
}

std::vector<net::Ipv4Addr> planned_addresses(const config::Network& network) {
  if (network.forward != config::Forward::Nat) return {};
  std::vector<net::Ipv4Addr> addresses = config::external_addresses(network);
  if (addresses.empty()) addresses.emplace_back();
  return addresses;
}

std::vector<std::vector<net::Ipv4Addr>> planned_pools(const config::Network& network) {
  if (network.forward != config::Forward::Nat) return {};
  std::vector<std::vector<net::Ipv4Addr>> pools{planned_addresses(network)};
  for (const config::NatRule& rule : network.nat.rules) {
    const auto list = config::all_of(rule.addresses);
    if (!list.empty() && pool_with(pools, list) == pools.size()) pools.push_back(list);
  }
  return pools;
}

std::size_t pool_with(const std::vector<std::vector<net::Ipv4Addr>>& pools,
                      std::vector<net::Ipv4Addr> addresses) {
  std::ranges::sort(addresses);
  const auto found = std::ranges::find_if(pools, [&](std::vector<net::Ipv4Addr> pool) {
    std::ranges::sort(pool);
    return pool == addresses;
  });
  return static_cast<std::size_t>(found - pools.begin());
}

std::vector<net::Ipv4Addr> external_addresses_now(const config::Network& network,
                                                  const RentedAddresses& rented) {
  std::vector<net::Ipv4Addr> addresses = in_one(planned_pools(network));
  for (net::Ipv4Addr& address : addresses) address = rented.now(address);
  std::erase(addresses, net::Ipv4Addr{});
  return addresses;
}

std::set<net::Ipv4Addr> draining_addresses(const config::Config& config) {
  std::set<net::Ipv4Addr> draining;
  for (const config::Network& network : config.networks)
    for (const config::AddressRange& range : network.nat.drain)
      for (std::uint64_t i = 0; i < range.size(); ++i)
        draining.insert(net::Ipv4Addr::from_host(range.first.host() + static_cast<std::uint32_t>(i)));
  return draining;
}

ExternalTable plan_external_addresses(const config::Config& config, const ExternalAddresses* running) {
  const std::set<net::Ipv4Addr> draining = draining_addresses(config);
  const Ports none = std::make_shared<const AllowedPorts>();
  PortsOfAddresses ports_of(config);
  FreeIndices free(running);
  std::vector<Entry> entries;
  for (const auto& [address, networks] : users_of_addresses(config)) {
    const auto former = running != nullptr ? index_in(*running, address) : std::nullopt;
    const std::size_t index = former ? *former : free.next();
    const bool is_draining = draining.contains(address);
    Ports ports = is_draining ? none : ports_of.of(address, networks);
    if (former) keep_if_equal(ports, *running, *former);
    if (entries.size() <= index) entries.resize(index + 1);
    entries[index] = {address, std::move(ports), is_draining};
  }
  return std::make_shared<const ExternalAddresses>(std::move(entries));
}

ExternalTable with_rented(const ExternalTable& planned, const RentedAddresses& rented) {
  std::vector<Entry> entries = planned->entries();
  bool is_another = false;
  for (Entry& entry : entries) {
    const net::Ipv4Addr now = rented.now(entry.address);
    is_another |= now != entry.address;
    entry.address = now;
  }
  return is_another ? std::make_shared<const ExternalAddresses>(std::move(entries)) : planned;
}

unsigned external_room(unsigned addresses) {
  constexpr unsigned kLeast = 512;
  return std::min(std::max(std::bit_ceil(4 * addresses), kLeast), conntrack::kMaxExternalAddresses);
}

AddressLists plan_address_lists(const config::Config& config, const ExternalAddresses& external) {
  AddressLists lists;
  for (const auto& network : config.networks)
    lists.push_back(indices_of(planned_addresses(network), external));
  return lists;
}

AddressLists plan_all_addresses(const config::Config& config, const ExternalAddresses& external) {
  AddressLists lists;
  for (const auto& network : config.networks)
    lists.push_back(indices_of(in_one(planned_pools(network)), external));
  return lists;
}

std::vector<std::uint8_t> plan_uplinks_of(const config::Config& config, const ExternalAddresses& external,
                                          const NetworkWays& ways) {
  std::vector<std::uint8_t> uplinks(external.size());
  const auto add = [&](conntrack::ExternalIndex index, std::size_t uplink) {
    uplinks[index] = static_cast<std::uint8_t>(uplinks[index] | 1u << uplink);
  };
  for (std::size_t i = 0; i < config::uplink_count(config); ++i)
    add(index_in(external, own_address(config, i)).value(), i);
  const AddressLists lists = plan_all_addresses(config, external);
  for (std::size_t i = 0; i < lists.size(); ++i)
    for (const conntrack::ExternalIndex index : lists[i]) add(index, way_of(ways, i));
  for (const dataplane::AddressPair& pair : plan_static_nat(config))
    add(external.index_of(pair.external).value(), way_of(ways, pair.network));
  return uplinks;
}

}  // namespace vmnat::control
