// SPDX-License-Identifier: Apache-2.0
// What an operator does to leases and reservations by hand, and what of it is kept over restarts.
#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "control/dhcp/dhcp_service.h"
#include "control/dhcp/reservation_file.h"

namespace vmnat::control {
namespace {

Error error_about(net::Ipv4Addr address, const std::string& what) {
  return {net::to_string(address), what};
}

std::string whose(const dhcp::Reservation& reservation) {
  return reservation.mac ? "MAC " + net::to_string(*reservation.mac) : "port " + reservation.port;
}

bool same_client(const dhcp::Reservation& one, const dhcp::Reservation& other) {
  return one.mac ? one.mac == other.mac : !other.mac && one.port == other.port;
}

// Of two reservations, what they would dispute about; empty: nothing.
std::string clash(const dhcp::Reservation& one, const dhcp::Reservation& other) {
  if (one.address == other.address) return "is reserved for " + whose(other) + " already";
  if (same_client(one, other))
    return whose(other) + " has " + net::to_string(other.address) + " reserved already";
  return {};
}

}  // namespace

std::pair<const NetworkIndex, DhcpService::Instance>* DhcpService::serving(net::Ipv4Addr address) {
  const auto found = std::ranges::find_if(
      servers_, [&](const auto& entry) { return config_.networks[entry.first].address.contains(address); });
  return found == servers_.end() ? nullptr : &*found;
}

std::string DhcpService::reservations_path(const Instance& instance) const {
  return fmt::format("{}/reservations-{}", config_.control.state_dir, instance.network);
}

// What stands against a reservation in the configuration; empty: nothing.
std::string DhcpService::against(const dhcp::Reservation& reservation, NetworkIndex network) const {
  const config::Network& on = config_.networks[network];
  const config::AddressRange hosts = config::host_range(on.address);
  if (!hosts.contains(reservation.address) || reservation.address == on.address.address)
    return fmt::format("is no address for a VM of network {}", on.name);
  const auto is_named = [&](const config::VmPort& port) { return port.name == reservation.port; };
  if (!reservation.mac && std::ranges::none_of(on.ports, is_named))
    return fmt::format("network {} has no port {}", on.name, reservation.port);
  for (const config::Reservation& other : on.dhcp->reservations) {
    const std::string what = clash(reservation, {other.mac, other.port, other.address, other.hostname});
    if (!what.empty()) return what + " by the configuration";
  }
  return {};
}

void DhcpService::load_reservations(NetworkIndex network, Instance& instance) {
  const ReservationFile file = read_reservations(reservations_path(instance));
  if (file.damaged_lines != 0)
    spdlog::warn("{}: {} lines cannot be read", reservations_path(instance), file.damaged_lines);
  instance.live = file.reservations;
  for (const dhcp::Reservation& reservation : instance.live)
    if (const std::string what = against(reservation, network); !what.empty())
      notes_.push_back(fmt::format("the reservation of {} for {} is left out: {}",
                                   net::to_string(reservation.address), whose(reservation), what));
  if (!instance.live.empty()) instance.server.reconfigure(settings_of(network, instance));
}

Result<void> DhcpService::take_over(NetworkIndex network, Instance& instance,
                                    std::vector<dhcp::Reservation> live) {
  if (const auto kept = write_reservations(reservations_path(instance), live); !kept)
    return tl::unexpected(kept.error());
  instance.live = std::move(live);
  instance.server.reconfigure(settings_of(network, instance));
  instance.all_is_news = true;
  return {};
}

Result<dhcp::Lease> DhcpService::release(net::Ipv4Addr address) {
  auto* const found = serving(address);
  if (found == nullptr) return tl::unexpected(error_about(address, "is of no network with DHCP"));
  dhcp::Server& server = found->second.server;
  const dhcp::LeaseTable::Record* record = server.table().at(address);
  if (record == nullptr || !record->is_held()) return tl::unexpected(error_about(address, "is not leased"));
  const dhcp::Lease lease = record->lease;
  server.release(address);
  spdlog::info("the lease of {} for {} was ended by hand", net::to_string(address),
               net::to_string(lease.mac));
  return lease;
}

Result<std::string> DhcpService::reserve(const dhcp::Reservation& reservation) {
  auto* const found = serving(reservation.address);
  if (found == nullptr) return tl::unexpected(error_about(reservation.address, "is of no network with DHCP"));
  auto& [network, instance] = *found;
  std::string what = against(reservation, network);
  for (const dhcp::Reservation& other : instance.live)
    if (what.empty()) what = clash(reservation, other);
  if (!what.empty()) return tl::unexpected(error_about(reservation.address, what));
  std::vector<dhcp::Reservation> live = instance.live;
  live.push_back(reservation);
  if (const auto done = take_over(network, instance, std::move(live)); !done)
    return tl::unexpected(done.error());
  spdlog::info("network {}: {} is reserved for {}", instance.network, net::to_string(reservation.address),
               whose(reservation));
  return instance.network;
}

Result<std::string> DhcpService::unreserve(net::Ipv4Addr address) {
  auto* const found = serving(address);
  if (found == nullptr) return tl::unexpected(error_about(address, "is of no network with DHCP"));
  auto& [network, instance] = *found;
  std::vector<dhcp::Reservation> live = instance.live;
  if (std::erase_if(live, [&](const auto& reservation) { return reservation.address == address; }) == 0) {
    const bool configured = reservation_of(instance.network, address) == "configured";
    return tl::unexpected(error_about(
        address, configured ? "is reserved by the configuration: change it there" : "is not reserved"));
  }
  if (const auto done = take_over(network, instance, std::move(live)); !done)
    return tl::unexpected(done.error());
  spdlog::info("network {}: {} is no longer reserved", instance.network, net::to_string(address));
  return instance.network;
}

std::string_view DhcpService::reservation_of(const std::string& network, net::Ipv4Addr address) const {
  const auto has_address = [address](const auto& reservation) { return reservation.address == address; };
  for (const auto& [index, instance] : servers_) {
    if (instance.network != network) continue;
    if (std::ranges::any_of(config_.networks[index].dhcp->reservations, has_address)) return "configured";
    if (std::ranges::any_of(instance.live, has_address)) return "live";
  }
  return {};
}

}  // namespace vmnat::control
