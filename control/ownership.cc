// SPDX-License-Identifier: Apache-2.0
#include "control/ownership.h"

#include <algorithm>

namespace vmnat::control {
namespace {

using dataplane::ForwardingState;
using dataplane::Guard;
using dataplane::kUplinkPort;

std::uint64_t word_of(net::MacAddr mac) {
  return mac.as_word();
}
std::uint64_t word_of(net::Ipv4Addr address) {
  return address.raw();
}

template <typename Owners>
dataplane::WordTable<PortIndex> table_of(const Owners& owners) {
  std::vector<dataplane::WordTable<PortIndex>::Entry> entries;
  for (const auto& [key, port] : owners) entries.push_back({word_of(key), port});
  return dataplane::WordTable<PortIndex>(entries);
}

// The newest MAC learned at the port that the owners let it have.
net::MacAddr usual_mac(PortIndex port, bool has_to_own, const std::map<net::MacAddr, PortIndex>& owners,
                       const MacLearning& learned) {
  net::MacAddr newest;
  for (const net::MacAddr mac : learned.of_port(port)) {  // oldest first
    const auto owner = owners.find(mac);
    if (owner == owners.end() ? !has_to_own : owner->second == port) newest = mac;
  }
  return newest;
}

}  // namespace

Ownership::Ownership(const std::vector<PortPlan>& ports, const ForwardingState& state)
    : ports_(ports), networks_(state.networks.size()) {
  for (std::size_t i = 0; i < networks_.size(); ++i) {
    networks_[i].fixed_addresses[state.networks[i].gateway.address] = kUplinkPort;
    networks_[i].fixed_macs[state.networks[i].mac] = kUplinkPort;
  }
  for (std::size_t i = 0; i < ports.size(); ++i)
    if (ports[i].config != nullptr) add_fixed(static_cast<PortIndex>(i), *ports[i].config);
}

void Ownership::add_fixed(PortIndex port, const config::VmPort& config) {
  port_by_name_[config.name] = port;
  OfNetwork& network = networks_[ports_[port].network];
  if (config.mac) network.fixed_macs.emplace(*config.mac, port);
  if (config.address) network.fixed_addresses.emplace(*config.address, port);
}

void Ownership::note(NetworkIndex network, const dhcp::Lease& lease) {
  auto& leases = networks_[network].leases;
  const auto port = port_by_name_.find(lease.port);
  if (lease.state != dhcp::LeaseState::Bound || port == port_by_name_.end()) {
    changed_ |= leases.erase(lease.address) != 0;
    return;
  }
  const Owner owner{lease.mac, port->second};
  const auto [known, is_new] = leases.try_emplace(lease.address, owner);
  changed_ |= is_new || known->second != owner;
  known->second = owner;
}

void Ownership::replace(NetworkIndex network, std::span<const dhcp::Lease> leases) {
  const auto before = std::exchange(networks_[network].leases, {});
  const bool was_changed = changed_;
  for (const dhcp::Lease& lease : leases) note(network, lease);
  changed_ = was_changed || before != networks_[network].leases;
}

// What is fixed comes first.
Ownership::MacOwners Ownership::mac_owners(const OfNetwork& network, const ForwardingState& state) const {
  MacOwners owners = network.fixed_macs;
  for (const auto& [address, owner] : network.leases)
    if (state.ports[owner.port].up) owners.emplace(owner.mac, owner.port);
  return owners;
}

Ownership::AddressOwners Ownership::address_owners(const OfNetwork& network) const {
  AddressOwners owners = network.fixed_addresses;
  for (const auto& [address, owner] : network.leases) owners.emplace(address, owner.port);
  return owners;
}

void Ownership::settle(MacLearning& learned, const ForwardingState& state) const {
  for (std::size_t i = 0; i < networks_.size(); ++i)
    for (const auto& [mac, port] : mac_owners(networks_[i], state))
      if (port != kUplinkPort) learned.bring_home(static_cast<NetworkIndex>(i), mac, port);
}

void Ownership::fill(ForwardingState& state, const MacLearning& learned) const {
  for (std::size_t i = 0; i < networks_.size(); ++i)
    fill_network(networks_[i], state.networks[i], state, learned);
}

void Ownership::follow_learning(NetworkIndex index, ForwardingState& state,
                                const MacLearning& learned) const {
  const dataplane::Network& network = state.networks[index];
  for (const PortIndex number : network.ports) {
    dataplane::Port& port = state.ports[number];
    net::MacAddr newest;
    for (const net::MacAddr mac : learned.of_port(number)) {  // oldest first
      const PortIndex* owner = network.mac_owners.find(mac.as_word());
      if (owner == nullptr ? port.guard < Guard::OwnMac : *owner == number) newest = mac;
    }
    if (std::exchange(port.usual_mac, newest) == newest || port.guard != Guard::OwnBoth) continue;
    const auto& leases = networks_[index].leases;
    const auto lease = std::ranges::find_if(leases, [&](const auto& of) {
      return of.second == Owner{newest, number};
    });
    if (lease != leases.end()) port.usual_address = lease->first;
  }
}

void Ownership::fill_network(const OfNetwork& owned, dataplane::Network& network, ForwardingState& state,
                             const MacLearning& learned) const {
  const MacOwners macs = mac_owners(owned, state);
  const AddressOwners addresses = address_owners(owned);
  network.mac_owners = table_of(macs);
  network.address_owners = table_of(addresses);
  for (const PortIndex port : network.ports) {
    const bool is_guarded = ports_[port].config->guard == config::PortGuard::On;
    const bool others_own = macs.size() + addresses.size() > 2;  // more than the gateway
    state.ports[port].is_guarded = is_guarded;
    state.ports[port].guard = is_guarded && others_own ? Guard::Others : Guard::GatewayOnly;
    state.ports[port].usual_address = {};
  }
  const auto at_least = [&](PortIndex port, Guard guard) {
    if (port == kUplinkPort || ports_[port].config->guard == config::PortGuard::Off) return;
    state.ports[port].guard = std::max(state.ports[port].guard, guard);
  };
  for (const auto& [mac, port] : macs) at_least(port, Guard::OwnMac);
  for (const auto& [address, port] : addresses) at_least(port, Guard::OwnBoth);
  for (const PortIndex port : network.ports)
    state.ports[port].usual_mac = usual_mac(port, state.ports[port].guard >= Guard::OwnMac, macs, learned);
  for (const auto& [address, port] : addresses) {
    if (port == kUplinkPort || state.ports[port].guard != Guard::OwnBoth) continue;
    dataplane::Port& at = state.ports[port];
    const auto lease = owned.leases.find(address);
    const bool goes_with_mac = lease != owned.leases.end() && lease->second.mac == at.usual_mac;
    if (at.usual_address.is_unspecified() || goes_with_mac) at.usual_address = address;
  }
}

}  // namespace vmnat::control
