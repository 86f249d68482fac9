// SPDX-License-Identifier: Apache-2.0
#include "control/dhcp_service.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <utility>

namespace vmnat::control {
namespace {

// The same VM gets the same address after a restart without any record: the seed is fixed.
constexpr std::uint64_t kAddressSeed = 0x766d6e6174;

dhcp::Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

constexpr dhcp::PortLimits kLimitsOfASegment{.messages_per_second = 1000, .leases = 0};

dhcp::Identity identity_of(config::Identity identity) {
  switch (identity) {
    case config::Identity::Port:
      return dhcp::Identity::Port;
    case config::Identity::ClientId:
      return dhcp::Identity::ClientId;
    case config::Identity::Mac:
      break;
  }
  return dhcp::Identity::Mac;
}

// The server takes the first entry that fits: those for an architecture stand first.
void add_boot(dhcp::NetworkSettings& settings, const config::DhcpBoot& boot) {
  for (const config::DhcpBootFile& entry : boot.by_arch)
    settings.boot.push_back({.architecture = entry.arch, .server = boot.server, .file = entry.file});
  settings.boot.push_back({.server = boot.server, .file = boot.file});
}

}  // namespace

dhcp::NetworkSettings dhcp_settings(const config::Network& network) {
  const config::Dhcp& dhcp = *network.dhcp;
  dhcp::NetworkSettings settings{.gateway = network.address,
                                 .gateway_mac = gateway_mac(network),
                                 .lease_time = dhcp.lease_time,
                                 .dns = dhcp.dns,
                                 .domain = dhcp.domain,
                                 .search = dhcp.search,
                                 .ntp = dhcp.ntp,
                                 .offer_router = network.forward == config::Forward::Nat,
                                 .mtu = network.mtu};
  for (const auto& range : dhcp.ranges) settings.ranges.push_back({range.first, range.last});
  for (const auto& route : dhcp.routes) settings.routes.push_back({route.to, route.via});
  if (dhcp.boot) add_boot(settings, *dhcp.boot);
  for (const auto& option : dhcp.options)
    settings.options.push_back({.code = option.code, .value = bytes_of(option.bytes)});
  for (const auto& reservation : dhcp.reservations)
    settings.reservations.push_back(
        {reservation.mac, reservation.port, reservation.address, reservation.hostname});
  for (const config::VmPort& port : network.ports)
    if (port.address)
      settings.reservations.push_back({.mac = port.mac, .port = port.name, .address = *port.address});
  settings.identity = identity_of(dhcp.identity);
  settings.check_before_offer = dhcp.check_before_offer;
  return settings;
}

dhcp::PortLimits dhcp_limits(const config::Dhcp& dhcp, const config::VmPort& port) {
  const dhcp::PortLimits usual = port.device.empty() ? dhcp::PortLimits{} : kLimitsOfASegment;
  return {.messages_per_second = dhcp.limits.messages_per_second.value_or(usual.messages_per_second),
          .leases = dhcp.limits.leases_per_port.value_or(usual.leases)};
}

DhcpService::DhcpService(const config::Config& config, const std::vector<PortPlan>& ports, dhcp::WallTime now)
    : config_(config), ports_(ports) {
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const config::Network& network = config.networks[i];
    if (!network.dhcp) continue;
    const auto [instance, is_new] = servers_.emplace(
        static_cast<NetworkIndex>(i),
        Instance{network.name, dhcp::Server(dhcp_settings(network), kAddressSeed), {}, {}, {}, {}});
    load_reservations(instance->first, instance->second);
    restore(instance->second, config.control.state_dir, now);
  }
}

void DhcpService::restore(Instance& instance, const std::string& state_dir, dhcp::WallTime now) {
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  auto store = LeaseStore::open(fmt::format("{}/leases-{}.journal", state_dir, instance.network));
  if (!store) {
    notes_.push_back(fmt::format("leases of network {} will not survive a restart: {}", instance.network,
                                 to_string(store.error())));
    spdlog::warn("{}", notes_.back());
    return;
  }
  if (store->damaged_bytes() != 0)
    spdlog::warn("lease journal of network {}: {} damaged bytes at its end left out", instance.network,
                 store->damaged_bytes());
  const std::size_t taken = instance.server.load(store->found(), now);
  if (taken != 0) spdlog::info("network {}: {} leases of before the restart", instance.network, taken);
  instance.store = std::move(*store);
}

void DhcpService::receive(std::span<const std::byte> frame, PortIndex port, dhcp::WallTime now,
                          SteadyTime steady) {
  if (servers_.contains(ports_[port].network)) answer(frame, port, now, steady);
}

// An offer may have to wait until it is known that nobody has its address.
void DhcpService::answer(std::span<const std::byte> frame, PortIndex port, dhcp::WallTime now,
                         SteadyTime steady) {
  const NetworkIndex network = ports_[port].network;
  Instance& instance = servers_.at(network);
  const dhcp::Ingress ingress{.port = ports_[port].name,
                              .limits = dhcp_limits(*config_.networks[network].dhcp, *ports_[port].config)};
  instance.has_expired |= instance.server.expire(now) != 0;  // first: the server would, and not say so
  auto reply = instance.server.answer(frame, ingress, now);
  if (const auto address = instance.server.take_check()) {
    if (checks_.add({.network = network,
                     .address = *address,
                     .port = port,
                     .frame = {frame.begin(), frame.end()},
                     .asked = steady}))
      return;
    instance.server.mark_free(*address, now);
    reply = instance.server.answer(frame, ingress, now);
  }
  if (reply) instance.replies.push_back({port, std::move(*reply)});
}

void DhcpService::advance(dhcp::WallTime now, SteadyTime steady) {
  for (const auto& [waiting, by] : checks_.take_settled(steady)) {
    dhcp::Server& server = servers_.at(waiting.network).server;
    if (by.is_zero()) {
      server.mark_free(waiting.address, now);
    } else {
      spdlog::warn("network {}: {} is in use by {}, which has no lease; it is not offered",
                   config_.networks[waiting.network].name, net::to_string(waiting.address),
                   net::to_string(by));
      server.mark_in_use(waiting.address, by, now);
    }
    answer(waiting.frame, waiting.port, now, steady);
  }
  for (auto& [network, instance] : servers_) {
    const config::DhcpExports& paths = config_.networks[network].dhcp->exports;
    if (instance.exports.is_due(paths, steady))
      instance.exports.write(paths, instance.server.leases(), steady);
  }
}

std::vector<DhcpService::Reply> DhcpService::take_replies() {
  std::vector<Reply> all;
  for (auto& [network, instance] : servers_) {
    auto replies = std::exchange(instance.replies, {});
    if (!keep(instance)) continue;  // no ACK for a lease that a power cut would lose: the client asks again
    std::ranges::move(replies, std::back_inserter(all));
  }
  return all;
}

bool DhcpService::keep(Instance& instance) {
  const std::vector<dhcp::Lease> changes = instance.server.take_changes();
  instance.news.insert(instance.news.end(), changes.begin(), changes.end());
  if (!changes.empty()) instance.exports.note_change();
  if (!instance.store || changes.empty()) return true;
  auto kept = instance.store->append(changes);
  if (kept && instance.store->wants_compaction()) kept = instance.store->compact(instance.server.leases());
  if (!kept)
    spdlog::error("leases of network {} cannot be kept: {}", instance.network, to_string(kept.error()));
  return kept.has_value();
}

void DhcpService::expire(dhcp::WallTime now) {
  for (auto& [network, instance] : servers_) {
    if (instance.server.expire(now) == 0) continue;
    instance.has_expired = true;
    instance.exports.note_change();
  }
}

std::vector<DhcpService::News> DhcpService::take_news() {
  std::vector<News> all;
  for (auto& [network, instance] : servers_) {
    auto changed = std::exchange(instance.news, {});
    if (std::exchange(instance.has_expired, false))
      all.push_back({network, true, instance.server.leases()});
    else if (!changed.empty())
      all.push_back({network, false, std::move(changed)});
  }
  return all;
}

void DhcpService::reconfigure() {
  for (auto& [network, instance] : servers_) {
    instance.server.reconfigure(settings_of(network, instance));
    instance.has_expired = true;
    instance.exports.note_change();
  }
}

void DhcpService::use_resolvers(const std::vector<net::Ipv4Addr>& resolvers) {
  if (resolvers == resolvers_) return;
  resolvers_ = resolvers;
  reconfigure();
}

// What the configuration says, with the resolvers of the uplink's lease and the reservations made since.
// Those that the configuration contradicts by now are left out.
dhcp::NetworkSettings DhcpService::settings_of(NetworkIndex network, const Instance& instance) const {
  dhcp::NetworkSettings settings = dhcp_settings(config_.networks[network]);
  if (config_.networks[network].dhcp->dns_is_default && !resolvers_.empty()) settings.dns = resolvers_;
  for (const dhcp::Reservation& reservation : instance.live)
    if (against(reservation, network).empty()) settings.reservations.push_back(reservation);
  return settings;
}

std::vector<DhcpService::NetworkLeases> DhcpService::leases() const {
  std::vector<NetworkLeases> all;
  for (const auto& [network, instance] : servers_)
    all.push_back({instance.network, instance.server.leases()});
  return all;
}

std::optional<net::Ipv4Addr> DhcpService::address_of(PortIndex port) const {
  const auto instance = servers_.find(ports_[port].network);
  if (instance == servers_.end()) return std::nullopt;
  std::optional<net::Ipv4Addr> address;
  dhcp::WallTime latest{};
  for (const dhcp::Lease& lease : instance->second.server.leases()) {
    if (lease.state != dhcp::LeaseState::Bound || lease.port != ports_[port].name || lease.expires < latest)
      continue;
    latest = lease.expires;
    address = lease.address;
  }
  return address;
}

dhcp::Counters DhcpService::counters() const {
  dhcp::Counters total;
  const auto add = [](auto& sum, const auto& values) {
    std::ranges::transform(sum, values, sum.begin(), std::plus<>{});
  };
  for (const auto& [network, instance] : servers_) {
    const dhcp::Counters& counters = instance.server.counters();
    total.frames += counters.frames;
    add(total.received, counters.received);
    add(total.sent, counters.sent);
    add(total.ignored, counters.ignored);
    total.settled += counters.settled;
    total.options_left_out += counters.options_left_out;
    total.clock_steps += counters.clock_steps;
  }
  return total;
}

}  // namespace vmnat::control
