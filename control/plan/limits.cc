// SPDX-License-Identifier: Apache-2.0
#include "control/plan/limits.h"

#include <algorithm>

namespace vmnat::control {
namespace {

using dataplane::Limit;
using dataplane::LimitsOneWay;
using dataplane::LimitTable;
using dataplane::PortLimits;
using Direction = std::optional<config::RateLimit> config::RateLimits::*;

std::uint64_t bytes_of(config::BitRate rate) {
  return rate.per_second / 8;
}

// Makes the limits of a table, or finds them in the one before.
class LimitMaker {
 public:
  LimitMaker(LimitTable& table, const LimitTable* former, const LimitClock& clock)
      : table_(table), former_(former), clock_(clock) {}

  // nullptr: nothing is limited. `was`: the limit of the same place before.
  Limit* make(const config::RateLimit& wanted, const Limit* was) {
    const Limit::Rates rates = rates_of(wanted);
    if (rates == Limit::Rates{}) return nullptr;
    if (was != nullptr && was->rates() == rates) {
      const auto kept = std::ranges::find(former_->all, was, [](const auto& limit) { return limit.get(); });
      return keep(*kept);
    }
    return keep(std::make_shared<Limit>(rates, clock_.hz, clock_.now));
  }

 private:
  Limit* keep(std::shared_ptr<Limit> limit) {
    if (std::ranges::find(table_.all, limit) == table_.all.end()) table_.all.push_back(limit);
    return limit.get();
  }

  LimitTable& table_;
  const LimitTable* former_;
  LimitClock clock_;
};

// What a section says of one direction; what it leaves open is as `otherwise`.
config::RateLimit one_way(const std::optional<config::RateLimits>& limits, Direction direction,
                          const config::RateLimit& otherwise = {}) {
  if (!limits) return otherwise;
  const std::optional<config::RateLimit>& given = (*limits).*direction;
  config::RateLimit limit = given ? *given : otherwise;
  if (limits->packets && !(given && given->packets)) limit.packets = limits->packets;
  return limit;
}

// The port's own word, or the network's.
config::RateLimit own_limit(const config::VmPort& port, const config::Network& network, Direction direction) {
  return one_way(port.limit, direction, one_way(network.limit, direction));
}

// The limit that ports of the former table share, those that `is_of` is true of; nullptr: there was none.
template <typename IsOf>
const Limit* former_shared(const LimitTable* former, LimitsOneWay PortLimits::*way,
                           Limit* LimitsOneWay::*shared, IsOf is_of) {
  if (former == nullptr) return nullptr;
  const auto found = std::ranges::find_if(
      former->ports, [&](const PortLimits& port) { return port.*way.*shared != nullptr && is_of(port); });
  return found == former->ports.end() ? nullptr : (*found).*way.*shared;
}

// One direction of all ports: those that share a limit have one and the same.
struct Way {
  Direction direction;
  LimitsOneWay PortLimits::*way;

  // By uplink.
  [[nodiscard]] std::vector<Limit*> of_uplinks(const config::Config& config, LimitMaker& maker,
                                               const LimitTable* former) const {
    std::vector<Limit*> limits;
    for (std::size_t u = 0; u < config::uplink_count(config); ++u) {
      const auto is_on = [u](const PortLimits& port) { return port.of_uplink == u; };
      limits.push_back(maker.make(one_way(config::uplink_at(config, u).limit, direction),
                                  former_shared(former, way, &LimitsOneWay::uplink, is_on)));
    }
    return limits;
  }

  // The table says already which network and uplink ports are of.
  void add(const config::Config& config, const std::vector<PortPlan>& ports, LimitMaker& maker,
           LimitTable& table, const LimitTable* former) const {
    const std::vector<Limit*> of_uplink = of_uplinks(config, maker, former);
    for (std::size_t n = 0; n < config.networks.size(); ++n) {
      const config::Network& network = config.networks[n];
      const auto is_of = [n](const PortLimits& port) { return port.network == n; };
      Limit* const of_network = maker.make(one_way(network.shared_limit, direction),
                                           former_shared(former, way, &LimitsOneWay::network, is_of));
      for (std::size_t i = 0; i < ports.size(); ++i) {
        if (ports[i].config == nullptr || ports[i].network != n) continue;
        const Limit* const was =
            former != nullptr && i < former->ports.size() ? (former->ports[i].*way).own : nullptr;
        table.ports[i].*way = {.own = maker.make(own_limit(*ports[i].config, network, direction), was),
                               .network = of_network,
                               .uplink = of_uplink[table.ports[i].of_uplink]};
      }
    }
  }
};

// Where nothing is given: what the rate brings in so much of a second.
std::uint64_t brought_in(std::uint64_t per_second, std::uint64_t part, std::uint64_t least) {
  return std::max(per_second / part, least);
}

}  // namespace

Limit::Rates rates_of(const config::RateLimit& limit) {
  constexpr std::uint64_t kLeastBurst = 16384, kTwoFrames = 2 * dataplane::kFullFrame, kLeastPackets = 32;
  constexpr std::uint64_t kBurst = 100, kPeak = 500, kPackets = 50;  // parts of a second
  Limit::Rates rates;
  if (limit.rate) {
    rates.bytes.per_second = bytes_of(*limit.rate);
    rates.bytes.burst =
        limit.burst ? limit.burst->bytes : brought_in(rates.bytes.per_second, kBurst, kLeastBurst);
  }
  if (limit.rate && limit.peak) {
    rates.peak.per_second = bytes_of(*limit.peak);
    rates.peak.burst = brought_in(rates.peak.per_second, kPeak, kTwoFrames);
  }
  if (limit.packets)
    rates.packets = {.per_second = *limit.packets,
                     .burst = brought_in(*limit.packets, kPackets, kLeastPackets)};
  return rates;
}

void set_limits(const config::Config& config, const std::vector<PortPlan>& ports, const LimitClock& clock,
                dataplane::ForwardingState& state) {
  auto table = std::make_shared<LimitTable>();
  table->ports.resize(ports.size());
  for (std::size_t i = 0; i < ports.size(); ++i)
    if (ports[i].config != nullptr) {
      table->ports[i].network = ports[i].network;
      if (ports[i].network < state.networks.size())
        table->ports[i].of_uplink = state.networks[ports[i].network].uplink;
    }
  LimitMaker maker(*table, state.limits.get(), clock);
  Way{&config::RateLimits::in, &PortLimits::in}.add(config, ports, maker, *table, state.limits.get());
  Way{&config::RateLimits::out, &PortLimits::out}.add(config, ports, maker, *table, state.limits.get());
  for (std::size_t i = 0; i < ports.size(); ++i) state.ports[i].is_limited = table->ports[i].in.is_any();
  if (table->all.empty())
    state.limits = nullptr;
  else if (state.limits == nullptr || state.limits->ports != table->ports)
    state.limits = std::move(table);
}

}  // namespace vmnat::control
