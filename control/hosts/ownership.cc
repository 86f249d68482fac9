// SPDX-License-Identifier: Apache-2.0
#include "control/hosts/ownership.h"

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

using Owners = std::vector<dataplane::WordTable<PortIndex>::Entry>;

// Of several owners of one thing the first is it.
void keep_first(Owners& owners) {
  std::ranges::stable_sort(owners, {}, &Owners::value_type::key);
  const auto same_key = [](const auto& a, const auto& b) { return a.key == b.key; };
  owners.erase(std::unique(owners.begin(), owners.end(), same_key), owners.end());
}

// The newest MAC learned at the port that the owners let it have.
net::MacAddr usual_mac(PortIndex port, bool has_to_own, const dataplane::WordTable<PortIndex>& owners,
                       const MacLearning& learned) {
  net::MacAddr newest;
  for (const net::MacAddr mac : learned.of_port(port)) {  // oldest first
    const PortIndex* owner = owners.find(word_of(mac));
    if (owner == nullptr ? !has_to_own : *owner == port) newest = mac;
  }
  return newest;
}

}  // namespace

Ownership::Ownership(const std::vector<PortPlan>& ports, const VmPlaces& places, const ForwardingState& state)
    : ports_(ports), places_(places) {
  begin_anew(state);
}

void Ownership::begin_anew(const ForwardingState& state) {
  networks_.assign(state.networks.size(), {});
  port_by_name_.clear();
  newly_owned_.clear();
  changed_ = true;
  for (std::size_t i = 0; i < networks_.size(); ++i) {
    networks_[i].fixed_addresses[state.networks[i].gateway.address] = kUplinkPort;
    networks_[i].fixed_macs[state.networks[i].mac] = kUplinkPort;
  }
  for (std::size_t i = 0; i < ports_.size(); ++i)
    if (ports_[i].config != nullptr) add_fixed(static_cast<PortIndex>(i), *ports_[i].config);
}

void Ownership::add_fixed(PortIndex port, const config::VmPort& config) {
  port_by_name_[config.name] = port;
  OfNetwork& network = networks_[ports_[port].network];
  if (config.mac && network.fixed_macs.emplace(*config.mac, port).second)
    newly_owned_.push_back({ports_[port].network, *config.mac, port});
  if (config.address) network.fixed_addresses.emplace(*config.address, port);
}

void Ownership::note(NetworkIndex network, const dhcp::Lease& lease) {
  OfNetwork& owned = networks_[network];
  const auto port = port_by_name_.find(lease.port);
  if (lease.state != dhcp::LeaseState::Bound || port == port_by_name_.end()) {
    if (owned.leases.erase(lease.address) != 0) owned.is_stale = changed_ = true;
    return;
  }
  const Owner owner{lease.mac, port->second};
  const auto [known, is_new] = owned.leases.try_emplace(lease.address, owner);
  if (!is_new && known->second == owner) return;
  known->second = owner;
  owned.is_stale = changed_ = true;
  newly_owned_.push_back({network, owner.mac, owner.port});
}

void Ownership::replace(NetworkIndex network, std::span<const dhcp::Lease> leases) {
  OfNetwork& owned = networks_[network];
  const auto before = std::exchange(owned.leases, {});
  const bool was_changed = changed_, was_stale = owned.is_stale;
  for (const dhcp::Lease& lease : leases) note(network, lease);
  const bool differs = before != owned.leases;
  changed_ = was_changed || differs;
  owned.is_stale = was_stale || differs;
}

void Ownership::note_moved(NetworkIndex network) {
  networks_[network].is_stale = changed_ = true;
}

void Ownership::bring_macs_home(MacLearning& learned) {
  for (const OwnMac& own : std::exchange(newly_owned_, {})) {
    const auto fixed = networks_[own.network].fixed_macs.find(own.mac);
    const bool is_anothers = fixed != networks_[own.network].fixed_macs.end() && fixed->second != own.port;
    if (!is_anothers) learned.bring_home(own.network, own.mac, places_.port_of(own.port));
  }
}

void Ownership::fill(ForwardingState& state, const MacLearning& learned) {
  for (std::size_t i = 0; i < networks_.size(); ++i) {
    OfNetwork& owned = networks_[i];
    if (owned.is_stale) refresh(owned);
    state.networks[i].mac_owners = owned.mac_owners;
    state.networks[i].address_owners = owned.address_owners;
    follow_learning(static_cast<NetworkIndex>(i), state, learned);
  }
}

void Ownership::follow_learning(NetworkIndex index, ForwardingState& state,
                                const MacLearning& learned) const {
  for (const PortIndex port : state.networks[index].ports)
    fill_port(networks_[index], port, state.ports[port], learned);
}

void Ownership::refresh(OfNetwork& network) const {
  network.by_port.clear();
  network.vms_own = network.fixed_macs.size() + network.fixed_addresses.size() + network.leases.size() > 2;
  refresh_macs(network);
  refresh_addresses(network);
  network.is_stale = false;
}

void Ownership::refresh_macs(OfNetwork& network) const {
  Owners macs;
  for (const auto& [mac, port] : network.fixed_macs) macs.push_back({word_of(mac), places_.port_of(port)});
  for (const auto& [address, owner] : network.leases)
    macs.push_back({word_of(owner.mac), places_.port_of(owner.port)});
  keep_first(macs);
  network.mac_owners = dataplane::WordTable<PortIndex>(macs);
  for (const auto& [mac, port] : macs) network.by_port[port].least = Guard::OwnMac;
}

void Ownership::refresh_addresses(OfNetwork& network) const {
  Owners addresses;
  const auto add = [&](net::Ipv4Addr address, PortIndex owner, net::MacAddr mac) {
    const PortIndex port = places_.port_of(owner);
    addresses.push_back({word_of(address), port});
    network.by_port[port].least = Guard::OwnBoth;
    network.by_port[port].addresses.push_back({address, mac});
  };
  for (const auto& [address, port] : network.fixed_addresses) {
    const auto lease = network.leases.find(address);
    const bool is_leased = lease != network.leases.end() && lease->second.port == port;
    add(address, port, is_leased ? lease->second.mac : net::MacAddr{});
  }
  for (const auto& [address, owner] : network.leases)
    if (!network.fixed_addresses.contains(address)) add(address, owner.port, owner.mac);
  network.address_owners = dataplane::WordTable<PortIndex>(addresses);
  for (auto& [port, owned] : network.by_port) std::ranges::sort(owned.addresses, {}, &OwnAddress::address);
}

bool Ownership::is_guarded(PortIndex port) const {
  return ports_[port].config->guard == config::PortGuard::On;
}

void Ownership::fill_port(const OfNetwork& owned, PortIndex index, dataplane::Port& port,
                          const MacLearning& learned) const {
  const auto own = owned.by_port.find(index);
  const Guard least = own == owned.by_port.end() ? Guard::GatewayOnly : own->second.least;
  port.is_guarded = is_guarded(index);
  port.guard = Guard::GatewayOnly;
  if (port.is_guarded) port.guard = std::max(owned.vms_own ? Guard::Others : Guard::GatewayOnly, least);
  port.usual_mac = usual_mac(index, port.guard >= Guard::OwnMac, owned.mac_owners, learned);
  port.usual_address = {};
  if (port.guard != Guard::OwnBoth) return;
  for (const auto& [address, mac] : own->second.addresses)
    if (port.usual_address.is_unspecified() || (!mac.is_zero() && mac == port.usual_mac))
      port.usual_address = address;
}

}  // namespace vmnat::control
