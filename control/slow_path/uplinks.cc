// SPDX-License-Identifier: Apache-2.0
#include "control/slow_path/uplinks.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <utility>

namespace vmnat::control {
namespace {

std::string networks_text(const std::vector<std::string>& names, std::string_view verb) {
  const bool is_one = names.size() == 1;
  return fmt::format("network{} {} {}{}", is_one ? "" : "s", fmt::join(names, ", "), verb,
                     is_one ? "es" : "");
}

}  // namespace

Uplinks::Uplinks(const config::Config& config, const NetworkWays& ways, const StatePublisher& states,
                 const Rents& rents, LogBudget& log)
    : config_(config),
      log_(log),
      failover_(rents.size(), std::chrono::steady_clock::now()),
      is_dead_(rents.size()),
      switches_(rents.size()) {
  for (std::size_t i = 0; i < rents.size(); ++i)
    sides_.emplace_back(config, static_cast<PortIndex>(i), states, rents[i], log);
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    ways_.push_back(way_of(ways, i));
    ways_by_name_[config.networks[i].name] = ways_.back();
  }
}

void Uplinks::resolve_routers(SteadyTime now) {
  for (UplinkSide& side : sides_) side.resolve_router(now);
}

void Uplinks::prepare(const config::Config& wanted, SteadyTime now) {
  for (UplinkSide& side : sides_) side.prepare(wanted, now);
}

bool Uplinks::is_prepared(SteadyTime now) const {
  return std::ranges::all_of(sides_, [=](const UplinkSide& side) { return side.is_prepared(now); });
}

void Uplinks::adopt_prepared() {
  for (UplinkSide& side : sides_) side.adopt_prepared();
}

bool Uplinks::advance(SteadyTime now) {
  bool has_new_lease = false;
  for (std::size_t i = 0; i < sides_.size(); ++i) {
    has_new_lease |= sides_[i].advance(now) != nullptr;
    look(i, now);
  }
  return has_new_lease;
}

void Uplinks::look(std::size_t number, SteadyTime now) {
  const auto uplink = static_cast<PortIndex>(number);
  failover_.note(uplink, sides_[number].trouble(), now);
  const bool is_dead = failover_.is_dead(uplink, now);
  if (is_dead_[number] == is_dead) return;
  is_dead_[number] = is_dead;
  if (is_dead)
    tell_dead(number, now);
  else if (sides_.size() > 1 || !sides_[number].probe().is_unspecified())
    log_.log(spdlog::level::info, {"failover", sides_[number].name()}, now, "uplink {} can be used again",
             sides_[number].name());
}

// Where its networks go to another one, their move tells. Of the only one its link, lease and router have told.
void Uplinks::tell_dead(std::size_t number, SteadyTime now) {
  const auto moving = wanted(now);
  const bool is_left = moving && *moving != ways_ && !networks_on(number).empty();
  if (is_left || (sides_.size() == 1 && failover_.trouble(0) != UplinkTrouble::SilentProbe)) return;
  log_.log(spdlog::level::warn, {"failover", sides_[number].name()}, now, "uplink {} is dead ({})",
           sides_[number].name(), trouble_text(number));
}

bool Uplinks::has_changed() const {
  return std::ranges::any_of(sides_, &UplinkSide::has_changed);
}

void Uplinks::fill(dataplane::ForwardingState& next) {
  for (UplinkSide& side : sides_) side.fill(next);
}

NetworkWays Uplinks::ways_for(const config::Config& wanted, SteadyTime now) const {
  NetworkWays ways;
  for (std::size_t i = 0; i < wanted.networks.size(); ++i) {
    const auto known = ways_by_name_.find(wanted.networks[i].name);
    const PortIndex first = preferred(wanted, i);
    ways.push_back(known != ways_by_name_.end() ? known->second : failover_.choose(first, first, now));
  }
  return ways;
}

std::optional<NetworkWays> Uplinks::wanted(SteadyTime now) const {
  if (sides_.size() == 1) return std::nullopt;
  NetworkWays ways = ways_;
  for (std::size_t i = 0; i < ways.size(); ++i)
    if (i < config_.networks.size() && !config_.networks[i].name.empty())
      ways[i] = failover_.choose(preferred(config_, i), ways[i], now);
  return ways == ways_ ? std::nullopt : std::optional{std::move(ways)};
}

void Uplinks::take(const config::Config& config, const NetworkWays& ways, SteadyTime now) {
  Moves moves;
  std::map<std::string, PortIndex> by_name;
  for (std::size_t i = 0; i < config.networks.size(); ++i) {
    const std::string& name = config.networks[i].name;
    const auto former = ways_by_name_.find(name);
    const PortIndex to = way_of(ways, i);
    by_name[name] = to;
    if (!name.empty() && former != ways_by_name_.end() && former->second != to)
      moves[{former->second, to}].push_back(name);
  }
  ways_ = ways;
  ways_by_name_ = std::move(by_name);
  tell(moves, now);
}

void Uplinks::tell(const Moves& moves, SteadyTime now) {
  for (const auto& [way, networks] : moves) {
    const auto& [from, to] = way;
    ++switches_[to];
    const std::string &left = sides_[from].name(), &taken = sides_[to].name();
    if (failover_.is_usable(from))
      log_.log(spdlog::level::info, {"failover", taken}, now, "uplink {} can be used: {} back to it from {}",
               taken, networks_text(networks, "go"), left);
    else
      log_.log(spdlog::level::warn, {"failover", left}, now, "uplink {} is dead ({}): {} by {}", left,
               trouble_text(from), networks_text(networks, "go"), taken);
  }
}

Rented Uplinks::rented() const {
  Rented rented;
  for (std::size_t i = 0; i < sides_.size(); ++i) {
    rented.in_table.set(i, sides_[i].rented_in_table());
    rented.in_use.set(i, sides_[i].rented());
  }
  return rented;
}

std::vector<net::Ipv4Addr> Uplinks::resolvers_of_leases() const {
  std::vector<net::Ipv4Addr> resolvers;
  for (const UplinkSide& side : sides_)
    for (const net::Ipv4Addr resolver : side.resolvers_of_lease())
      if (std::ranges::find(resolvers, resolver) == resolvers.end()) resolvers.push_back(resolver);
  return resolvers;
}

bool Uplinks::is_waiting_for_lease() const {
  return std::ranges::any_of(sides_, &UplinkSide::is_waiting_for_lease);
}

std::vector<ForwardPlan> Uplinks::forwards() const {
  return plan_forwards(on_uplinks(config_, ways_), rented().in_use);
}

std::vector<net::Ipv4Addr> Uplinks::external_addresses(const config::Network& network) const {
  const auto found = ways_by_name_.find(network.name);
  config::Config only;
  only.uplink = config_.uplink;
  only.uplinks = config_.uplinks;
  only.networks = {network};
  only = on_uplinks(only, {found == ways_by_name_.end() ? PortIndex{0} : found->second});
  return external_addresses_now(only.networks.front(), rented().in_use);
}

std::vector<std::string> Uplinks::networks_on(std::size_t number) const {
  std::vector<std::string> names;
  for (const config::Network& network : config_.networks) {
    const auto found = ways_by_name_.find(network.name);
    if (!network.name.empty() && found != ways_by_name_.end() && found->second == number)
      names.push_back(network.name);
  }
  return names;
}

std::string Uplinks::trouble_text(std::size_t number) const {
  const UplinkSide& side = sides_[number];
  switch (side.trouble()) {
    case UplinkTrouble::None:
      break;
    case UplinkTrouble::NoLink:
      return "it has no link";
    case UplinkTrouble::NoAddress:
      return "it has no address";
    case UplinkTrouble::SilentGateway:
      return "its gateway does not answer ARP";
    case UplinkTrouble::SilentProbe:
      return fmt::format("its probe {} is not answered", net::to_string(side.probe()));
  }
  return {};
}

}  // namespace vmnat::control
