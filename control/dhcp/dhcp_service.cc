// SPDX-License-Identifier: Apache-2.0
#include "control/dhcp/dhcp_service.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <utility>

#include "control/plan/initial_state.h"
#include "net/arp.h"

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

void add_to(dhcp::Counters& total, const dhcp::Counters& counters) {
  const auto add = [](auto& sum, const auto& values) {
    std::ranges::transform(sum, values, sum.begin(), std::plus<>{});
  };
  add(total.received, counters.received);
  add(total.sent, counters.sent);
  add(total.ignored, counters.ignored);
  total.concluded += counters.concluded;
  total.options_left_out += counters.options_left_out;
}

// The server takes the first entry that fits: the narrower ones stand first.
void add_boot(dhcp::NetworkSettings& settings, const config::DhcpBoot& boot) {
  if (!boot.ipxe.empty())
    settings.boot.push_back({.for_ipxe = true, .server = boot.server, .file = boot.ipxe});
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
                                 .dns = dhcp.dns.servers,
                                 .domain = dhcp.domain,
                                 .search = dhcp.search,
                                 .ntp = dhcp.ntp,
                                 .offer_router = network.forward != config::Forward::None,
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
  for (const config::VmPort& port : network.ports) settings.ports.push_back({port.name, port.mac});
  settings.identity = identity_of(dhcp.identity);
  settings.check_before_offer = dhcp.check_before_offer;
  return settings;
}

dhcp::PortLimits dhcp_limits(const config::Dhcp& dhcp, const config::VmPort& port) {
  const dhcp::PortLimits usual = is_segment(port) ? kLimitsOfASegment : dhcp::PortLimits{};
  return {.messages_per_second = dhcp.limits.messages_per_second.value_or(usual.messages_per_second),
          .leases = dhcp.limits.leases_per_port.value_or(usual.leases)};
}

DhcpService::DhcpService(const config::Config& config, const std::vector<PortPlan>& ports,
                         const VmPlaces& places, dhcp::WallTime now, SteadyTime steady)
    : config_(config),
      ports_(ports),
      places_(places),
      now_(now),
      steady_(steady),
      wall_ahead_(now.time_since_epoch() - steady.time_since_epoch()) {
  for (std::size_t i = 0; i < config.networks.size(); ++i)
    if (config.networks[i].dhcp) serve(static_cast<NetworkIndex>(i), now, steady);
}

void DhcpService::serve(NetworkIndex number, dhcp::WallTime now, SteadyTime steady) {
  const config::Network& network = config_.networks[number];
  const std::string path = fmt::format("{}/leases-{}.journal", config_.control.state_dir, network.name);
  const auto [instance, is_new] =
      servers_.emplace(number, Instance{network.name, dhcp::Server(dhcp_settings(network), kAddressSeed),
                                        LeaseKeeper(path, "leases of network " + network.name)});
  load_reservations(instance->first, instance->second);
  restore(instance->second, now, steady);
}

// What has changed since the last commit is kept; who waits for an answer asks again.
void DhcpService::stop_serving(Instance& instance) {
  keep(instance);
  add_to(counters_before_, instance.server.counters());
  journal_failures_before_ += instance.keeper.failures();
}

void DhcpService::follow_networks(dhcp::WallTime now, SteadyTime steady) {
  checks_.forget([this](const OfferChecks::Waiting& waiting) {
    return !config_.networks[waiting.network].dhcp || !ports_[waiting.port].exists;
  });
  for (auto at = servers_.begin(); at != servers_.end();) {
    auto& [number, instance] = *at;
    const config::Network& network = config_.networks[number];
    const bool stays = network.dhcp && network.name == instance.network;
    if (!stays) stop_serving(instance);
    at = stays ? std::next(at) : servers_.erase(at);
  }
  for (std::size_t i = 0; i < config_.networks.size(); ++i)
    if (config_.networks[i].dhcp && !servers_.contains(static_cast<NetworkIndex>(i)))
      serve(static_cast<NetworkIndex>(i), now, steady);
  reconfigure();
}

void DhcpService::restore(Instance& instance, dhcp::WallTime now, SteadyTime steady) {
  std::error_code error;
  std::filesystem::create_directories(config_.control.state_dir, error);
  const std::size_t taken = instance.server.load(instance.keeper.open(now, steady), now);
  if (taken != 0) spdlog::info("network {}: {} leases of before", instance.network, taken);
}

// The two clocks are not read at once, hence a second. A machine that slept is as one whose clock was set:
// its VMs slept, too.
void DhcpService::follow_clock(dhcp::WallTime now, SteadyTime steady) {
  now_ = now;
  steady_ = steady;
  const dhcp::WallTime::duration ahead = now.time_since_epoch() - steady.time_since_epoch();
  const auto by = ahead - wall_ahead_;
  if (std::chrono::abs(by) < std::chrono::seconds(1)) return;
  wall_ahead_ = ahead;
  spdlog::warn("the wall clock was set by {} s: leases last as long as before",
               std::chrono::duration_cast<std::chrono::seconds>(by).count());
  for (auto& [network, instance] : servers_) {
    instance.server.clock_was_set(by);
    note_change(instance);
    std::vector<dhcp::Lease> held;
    for (const auto& [address, record] : instance.server.table().records())
      if (record.is_held() && record.lease.state != dhcp::LeaseState::Offered) held.push_back(record.lease);
    keep(instance);
    instance.keeper.keep(held, now, steady);
  }
}

dhcp::PortLimits DhcpService::limits_of(PortIndex port) const {
  return dhcp_limits(*config_.networks[ports_[port].network].dhcp, *ports_[port].config);
}

void DhcpService::receive(std::span<const std::byte> frame, PortIndex port, dhcp::WallTime now,
                          SteadyTime steady) {
  if (!servers_.contains(ports_[port].network)) return;
  follow_clock(now, steady);
  answer(frame, port, now, steady, Asking::First);
}

// An offer may have to wait until it is known that nobody has its address.
void DhcpService::answer(std::span<const std::byte> frame, PortIndex port, dhcp::WallTime now,
                         SteadyTime steady, Asking asking) {
  const config::VmPort& config = *ports_[port].config;
  const NetworkIndex network = ports_[port].network;
  Instance& instance = servers_.at(network);
  dhcp::Ingress ingress{.port = name_at(port),
                        .limits = limits_of(port),
                        .may_relay = config.relay,
                        .is_repeated = asking == Asking::Repeated};
  auto reply = instance.server.answer(frame, ingress, now);
  if (auto check = instance.server.take_check()) {
    const net::Ipv4Addr address = check->address;
    if (checks_.add({.network = network,
                     .address = address,
                     .port = port,
                     .client = check->client,
                     .key = std::move(check->key),
                     .frame = {frame.begin(), frame.end()},
                     .asked = steady},
                    is_segment(config) ? OfferChecks::kOfASegment : OfferChecks::kOfAVm))
      return;
    instance.server.mark_free(address, now);
    ingress.is_repeated = true;
    reply = instance.server.answer(frame, ingress, now);
  }
  if (reply) instance.replies.push_back({port, std::move(*reply)});
}

void DhcpService::receive_arp(std::span<const std::byte> frame, PortIndex port, dhcp::WallTime now,
                              SteadyTime steady) {
  const auto claim = net::arp_claim_in(frame);
  const NetworkIndex network = ports_[port].network;
  const auto* waiting = claim ? checks_.waiting_for(network, claim->address) : nullptr;
  if (waiting == nullptr) return;
  dhcp::Server& server = servers_.at(network).server;
  // The client itself may still have the address from another life.
  const bool is_client = waiting->port == port && waiting->client == claim->mac;
  if (is_client)
    server.mark_free(claim->address, now);
  else if (!server.mark_in_use(claim->address, {claim->mac, name_at(port), limits_of(port)}, now))
    return static_cast<void>(++claims_.ignored);
  if (!is_client) {
    ++claims_.heeded;
    claims_.last = fmt::format("{} of network {} by {} on port {}", net::to_string(claim->address),
                               config_.networks[network].name, net::to_string(claim->mac), name_at(port));
  }
  const OfferChecks::Waiting concluded = checks_.take(network, claim->address);
  answer(concluded.frame, concluded.port, now, steady, Asking::Repeated);
}

void DhcpService::tell_of_claims(SteadyTime steady) {
  const std::uint64_t claims = claims_.heeded - claims_.said;
  if (claims == 0 || steady < claims_.next_line) return;
  claims_.next_line = steady + std::chrono::seconds(1);
  claims_.said = claims_.heeded;
  spdlog::warn("in use without a lease, and so not offered: {} addresses, the last one {}", claims,
               claims_.last);
}

void DhcpService::advance(dhcp::WallTime now, SteadyTime steady) {
  follow_clock(now, steady);
  for (const OfferChecks::Waiting& waiting : checks_.take_unanswered(steady)) {
    servers_.at(waiting.network).server.mark_free(waiting.address, now);
    answer(waiting.frame, waiting.port, now, steady, Asking::Repeated);
  }
  tell_of_claims(steady);
  for (auto& [network, instance] : servers_) {
    instance.server.expire(now);
    keep(instance);
    instance.keeper.advance(now, steady);
    if (instance.keeper.wants_compaction(steady)) instance.keeper.compact(instance.server.leases(), steady);
    const config::DhcpExports& paths = config_.networks[network].dhcp->exports;
    if (instance.exports.is_due(paths, steady))
      instance.exports.write(paths, instance.server.leases(), steady);
  }
}

DhcpService::Committed DhcpService::commit() {
  Committed committed;
  for (auto& [network, instance] : servers_) {
    keep(instance);
    std::ranges::move(std::exchange(instance.replies, {}), std::back_inserter(committed.replies));
    auto changed = std::exchange(instance.news, {});
    if (std::exchange(instance.all_is_news, false))
      committed.news.push_back({network, true, instance.server.leases()});
    else if (!changed.empty())
      committed.news.push_back({network, false, std::move(changed)});
  }
  return committed;
}

void DhcpService::keep(Instance& instance) {
  const std::vector<dhcp::Lease> changes = instance.server.take_changes();
  const std::vector<dhcp::Lease> expired = instance.server.take_expired();
  if (changes.empty() && expired.empty()) return;
  // A lease that ran out may have been given anew since.
  for (const auto* leases : {&expired, &changes})
    instance.news.insert(instance.news.end(), leases->begin(), leases->end());
  note_change(instance);
  instance.keeper.keep(changes, now_, steady_);
}

void DhcpService::note_change(Instance& instance) {
  instance.exports.note_change();
  ++lease_changes_;
}

void DhcpService::reconfigure() {
  for (auto& [network, instance] : servers_) {
    instance.server.reconfigure(settings_of(network, instance));
    instance.all_is_news = true;
    note_change(instance);
  }
}

void DhcpService::use_resolvers(const std::vector<net::Ipv4Addr>& resolvers) {
  if (resolvers == resolvers_) return;
  resolvers_ = resolvers;
  reconfigure();
}

void DhcpService::use_gateway_as_resolver(bool is_one) {
  if (std::exchange(is_gateway_resolver_, is_one) != is_one) reconfigure();
}

// What the configuration says, with the resolvers of the uplink's lease and the reservations made since.
// Those that the configuration contradicts by now are left out.
dhcp::NetworkSettings DhcpService::settings_of(NetworkIndex network, const Instance& instance) const {
  const config::Network& config = config_.networks[network];
  dhcp::NetworkSettings settings = dhcp_settings(config);
  const config::DnsSource from = config.dhcp->dns.from;
  if (from == config::DnsSource::Gateway && is_gateway_resolver_)
    settings.dns = {config.address.address};
  else if (from != config::DnsSource::Listed && !resolvers_.empty())
    settings.dns = resolvers_;
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

std::size_t DhcpService::lease_count(NetworkIndex network) const {
  const auto instance = servers_.find(network);
  return instance == servers_.end() ? 0 : instance->second.server.table().bound();
}

std::vector<const dhcp::Lease*> DhcpService::leases_through(PortIndex port) const {
  std::vector<const dhcp::Lease*> leases;
  const auto instance = servers_.find(ports_[port].network);
  if (instance == servers_.end()) return leases;
  const dhcp::LeaseTable& table = instance->second.server.table();
  for (const net::Ipv4Addr address : table.held_through(name_at(port)))
    if (const dhcp::Lease& lease = table.at(address)->lease; lease.state == dhcp::LeaseState::Bound)
      leases.push_back(&lease);
  return leases;
}

std::optional<net::Ipv4Addr> DhcpService::address_of(PortIndex port) const {
  const auto leases = leases_through(port);
  const auto latest = std::ranges::max_element(leases, {}, &dhcp::Lease::expires);
  return latest == leases.end() ? std::nullopt : std::optional((*latest)->address);
}

dhcp::IgnoredCounts DhcpService::ignored_from(PortIndex port) const {
  const auto instance = servers_.find(ports_[port].network);
  return instance == servers_.end() ? dhcp::IgnoredCounts{}
                                    : instance->second.server.ignored_from(name_at(port));
}

std::uint64_t DhcpService::journal_failures() const {
  std::uint64_t failures = journal_failures_before_;
  for (const auto& [network, instance] : servers_) failures += instance.keeper.failures();
  return failures;
}

std::size_t DhcpService::journal_waiting() const {
  std::size_t waiting = 0;
  for (const auto& [network, instance] : servers_) waiting += instance.keeper.waiting();
  return waiting;
}

std::vector<std::string> DhcpService::notes() const {
  std::vector<std::string> notes = notes_;
  for (const auto& [network, instance] : servers_)
    for (const std::string& problem : {instance.keeper.problem(), instance.exports.problem()})
      if (!problem.empty()) notes.push_back(problem);
  return notes;
}

std::string DhcpService::check_invariants() const {
  for (const auto& [network, instance] : servers_)
    if (std::string broken = instance.server.check_invariants(); !broken.empty())
      return instance.network + ": " + broken;
  return {};
}

dhcp::Counters DhcpService::counters() const {
  dhcp::Counters total = counters_before_;
  for (const auto& [network, instance] : servers_) add_to(total, instance.server.counters());
  return total;
}

}  // namespace vmnat::control
