// SPDX-License-Identifier: Apache-2.0
#include "control/uplink/uplink_client.h"

#include <algorithm>
#include <filesystem>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/random_seed.h"
#include "control/config/values.h"
#include "control/uplink/remembered_address.h"

namespace vmnat::control {
namespace {

std::string text_of(net::Ipv4Addr address, std::string_view none) {
  return address.is_unspecified() ? std::string{none} : net::to_string(address);
}

// Of the only uplink a name that it has always had.
std::string memory_path(const config::Config& config, PortIndex number) {
  const std::string file = config.control.state_dir + "/uplink-address";
  return config.uplinks.empty() ? file : file + '.' + config::uplink_name(config, number);
}

std::string time_left(dhcp::ClientTime end) {
  if (end == dhcp::ClientTime::max()) return "for ever";
  return "for " + config::to_text(std::chrono::round<std::chrono::seconds>(end - boot_time()));
}

}  // namespace

UplinkClient::UplinkClient(const config::Config& config, PortIndex number, net::MacAddr own_mac,
                           const RentedAddress& address, const OnLink& link)
    : config_(config),
      number_(number),
      name_(config::uplink_name(config, number)),
      address_(address),
      neighbors_(link.neighbors),
      own_addresses_(link.own_addresses),
      memory_path_(memory_path(config, number)),
      client_({.mac = own_mac, .mtu = settings().mtu}, random_seed()) {}

void UplinkClient::link_up() {
  if (client_.state() != dhcp::ClientState::Stopped) return client_.link_returned(boot_time());
  const auto remembered = remembered_address(memory_path_);
  spdlog::info("{}: asks for {} by DHCP", name_,
               remembered ? "its former address " + net::to_string(*remembered) : "an address");
  client_.start(remembered, boot_time());
}

bool UplinkClient::advance(SteadyTime now) {
  client_.advance(boot_time());
  for (const dhcp::ClientNews news : client_.take_news()) tell(news, now);
  log_.tell_suppressed(now);
  const bool changed = follow_lease(now);
  send_output(now);
  return changed;
}

// What a server, or another station on the link, makes happen may happen again and again.
void UplinkClient::tell(dhcp::ClientNews news, SteadyTime now) {
  const LogBudget::Subject lease{"lease", name_}, conflict{"conflict", name_};
  switch (news) {
    case dhcp::ClientNews::Bound:
      return;  // told when it is in effect
    case dhcp::ClientNews::Renewed:
      return log_.log(spdlog::level::info, lease, now, "{}: lease of {} renewed {} by {}", name_,
                      net::to_string(client_.binding()->address), time_left(client_.binding()->expires),
                      net::to_string(client_.binding()->server));
    case dhcp::ClientNews::Refused:
      return log_.log(spdlog::level::warn, lease, now, "{}: the DHCP server refuses {}; asks anew", name_,
                      in_effect_ ? net::to_string(in_effect_->address) : "the address that was asked for");
    case dhcp::ClientNews::Conflict:
      return log_.log(spdlog::level::warn, conflict, now,
                      "{}: another station has the address that DHCP gives; declined", name_);
    case dhcp::ClientNews::Expired:
      return log_.log(spdlog::level::err, lease, now,
                      "{}: the lease of {} has expired, and no DHCP server answers", name_,
                      in_effect_ ? net::to_string(in_effect_->address) : "the uplink's address");
    case dhcp::ClientNews::LeaseTimeMissing:
      return log_.log(spdlog::level::warn, {"lease time", name_}, now,
                      "{}: the DHCP server does not say how long the lease lasts (option 51); what it "
                      "said last, or an hour, is taken",
                      name_);
  }
}

// A renewal goes to the server's own MAC address or its router's, which may have to be asked for first.
void UplinkClient::send_output(SteadyTime now) {
  for (dhcp::ClientFrame& out : client_.take_output()) {
    if (out.by_unicast_to.is_unspecified() || !in_effect_) {
      neighbors_.send_as_is(std::move(out.frame));
      continue;
    }
    const bool on_link = in_effect_->address.contains(out.by_unicast_to);
    const net::Ipv4Addr next_hop = on_link ? out.by_unicast_to : in_effect_->router;
    if (!next_hop.is_unspecified()) neighbors_.send_to(next_hop, std::move(out.frame), number_, now);
  }
}

std::string UplinkClient::contradiction(const dhcp::Binding& binding) const {
  const std::string gives = "DHCP gives " + (config_.uplinks.empty() ? "the uplink" : "uplink " + name_);
  for (const auto& uplink : config_.uplinks)
    if (uplink.address && uplink.address->address == binding.address.address)
      return fmt::format("{} {}, which uplink '{}' has", gives, net::to_string(binding.address), uplink.name);
  for (const config::Network& network : config_.networks) {
    if (network.address.overlaps(binding.address))
      return fmt::format("{} {}, which overlaps network '{}' ({})", gives, net::to_string(binding.address),
                         network.name, net::to_string(network.address));
    auto external = config::external_addresses(network);
    for (const config::NatRule& rule : network.nat.rules) {
      const auto more = config::all_of(rule.addresses);
      external.insert(external.end(), more.begin(), more.end());
    }
    if (std::ranges::find(external, binding.address.address) != external.end())
      return fmt::format("{} {}, which nat.addresses of network '{}' has, too", gives,
                         net::to_string(binding.address.address), network.name);
    if (std::ranges::find(network.nat.static_nat, binding.address.address, &config::StaticNat::external) !=
        network.nat.static_nat.end())
      return fmt::format("{} {}, which nat.static of network '{}' has, too", gives,
                         net::to_string(binding.address.address), network.name);
  }
  return {};
}

std::optional<dhcp::Binding> UplinkClient::usable_lease(SteadyTime now) {
  const auto& lease = client_.binding();
  const std::string problem = lease ? contradiction(*lease) : "";
  if (problem != problem_ && !problem.empty())
    log_.log(spdlog::level::err, {"contradiction", name_}, now, "{}; nothing is forwarded", problem);
  problem_ = problem;
  return problem.empty() ? lease : std::nullopt;
}

// One step towards what the lease says. True: the workers need another state.
bool UplinkClient::follow_lease(SteadyTime now) {
  if (address_.is_given_up() && !finish_giving_up(now)) return false;
  const auto lease = usable_lease(now);
  if (in_effect_ && (!lease || lease->address.address != rented())) return give_up_address();
  if (!lease) return false;
  if (!in_effect_ && has_former_address_other_than(lease->address.address)) {
    address_.give_up();
    return true;
  }
  if (in_effect_ && in_effect_->means_the_same_as(*lease)) {
    in_effect_ = lease;
    return false;
  }
  return apply(*lease, now);
}

bool UplinkClient::give_up_address() {
  own_addresses_.withdraw(rented());
  in_effect_.reset();
  neighbors_.start_over({});
  address_.give_up();
  return true;
}

// The sessions of the process before are on another address than the first lease is of.
bool UplinkClient::has_former_address_other_than(net::Ipv4Addr address) const {
  return !address_.value().is_unspecified() && address_.value() != address;
}

bool UplinkClient::finish_giving_up(SteadyTime now) {
  const net::Ipv4Addr former = address_.value();
  const auto ended = address_.poll();
  if (!ended) return false;
  sessions_ended_ += *ended;
  log_.log(spdlog::level::info, {"address", name_}, now, "{}: {} is gone, and {} sessions with it", name_,
           net::to_string(former), *ended);
  return true;
}

bool UplinkClient::apply(const dhcp::Binding& lease, SteadyTime now) {
  const bool is_new = !in_effect_;
  const bool is_elsewhere =
      is_new || in_effect_->address != lease.address || in_effect_->router != lease.router;
  in_effect_ = lease;
  if (is_new) address_.set(rented());
  if (is_elsewhere) {
    neighbors_.start_over(rented());
    if (!lease.router.is_unspecified()) neighbors_.keep_resolved(lease.router, now);
  }
  if (is_new) {
    own_addresses_.announce(rented(), now);
    keep_in_mind(rented());
  }
  log_.log(spdlog::level::info, {"address", name_}, now, "{}: {} {} from DHCP server {}, router {}, {}",
           name_, is_new ? "has" : "has another lease of", net::to_string(lease.address),
           net::to_string(lease.server), text_of(lease.router, "none"), time_left(lease.expires));
  return true;
}

void UplinkClient::keep_in_mind(net::Ipv4Addr address) const {
  if (const auto kept = remember_address(memory_path_, address); !kept)
    spdlog::warn("{}: its address will not be asked for after a restart: {}", name_, to_string(kept.error()));
}

void UplinkClient::describe(dataplane::Uplink& uplink) const {
  uplink.dhcp_transaction = client_.transaction();
  uplink.checked_address = client_.checked();
  if (!in_effect_) {
    uplink.address = {};
    uplink.gateway = {};
    uplink.mtu = 0;
    return;
  }
  uplink.address = in_effect_->address;
  uplink.gateway = in_effect_->router;
  uplink.mtu = in_effect_->mtu == 0 ? settings().mtu : std::min(settings().mtu, in_effect_->mtu);
}

}  // namespace vmnat::control
