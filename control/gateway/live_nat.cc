// SPDX-License-Identifier: Apache-2.0
#include "control/gateway/live_nat.h"

#include <fmt/format.h>

namespace vmnat::control {

Result<NatPlan> LiveNat::plan(const config::Config& wanted, const NetworkWays& ways) const {
  NatPlan plan = plan_nat(wanted, running_.external.get(), ways);
  if (plan.external->size() <= room_) return plan;
  return tl::unexpected(
      Error{"networks[].nat.addresses",
            fmt::format("there is room for {} external addresses, those that go counted until they are gone; "
                        "more need a restart; nothing was changed",
                        room_)});
}

void LiveNat::change_to(NatPlan wanted, const RentedAddresses& rented) {
  const DeparturePlan departures = plan_departures(running_, wanted, rented);
  closing_ = plan_closing(running_, wanted);
  wanted_ = std::move(wanted);
  ended_ = 0;
  if (departures.is_empty()) return go_on_to(Step::Opening);
  departures_ = std::make_shared<const dataplane::DepartingSessions>(departures.addresses, departures.ports,
                                                                     departures.rules);
  go_on_to(Step::Closing);
}

void LiveNat::go_on_to(Step step) {
  step_ = step;
  is_outdated_ = true;
  awaited_state_ = states_.current().generation + 1;
}

std::optional<std::uint64_t> LiveNat::poll() {
  if (step_ == Step::Closing && is_seen()) {
    flush_.emplace(workers_, turns_, dataplane::SessionSelector{.departures = departures_});
    step_ = Step::Ending;
  }
  if (step_ == Step::Ending) {
    const auto ended = flush_->poll();
    if (!ended) return std::nullopt;
    ended_ = *ended;
    sessions_ended_ += *ended;
    flush_.reset();
    go_on_to(Step::Opening);
    return std::nullopt;
  }
  if (step_ != Step::Opening || !is_seen()) return std::nullopt;
  running_ = std::move(wanted_);
  step_ = Step::AtRest;
  return ended_;
}

const NatPlan& LiveNat::shown() const {
  if (step_ == Step::AtRest) return running_;
  return step_ == Step::Opening ? wanted_ : closing_;
}

std::vector<ForwardPlan> LiveNat::forwards_shown(const RentedAddresses& rented) const {
  auto forwards = plan_forwards(shown().config, rented);
  if (step_ == Step::AtRest || step_ == Step::Opening) return forwards;
  return common_forwards(plan_forwards(running_.config, rented), forwards);
}

std::vector<dataplane::AddressPair> LiveNat::pairs_shown() const {
  if (step_ == Step::AtRest || step_ == Step::Opening) return plan_static_nat(shown().config);
  return closing_pairs(running_, wanted_);
}

void LiveNat::fill_uplinks(dataplane::ForwardingState& next) const {
  const bool are_moving = step_ == Step::Closing || step_ == Step::Ending;
  next.uplinks_of_external = shown().uplinks_of_external;
  for (std::size_t i = 0; i < next.networks.size(); ++i) {
    next.networks[i].uplink = way_of(shown().ways, i);
    next.networks[i].is_moving = are_moving && way_of(running_.ways, i) != next.networks[i].uplink;
  }
}

void LiveNat::fill(dataplane::ForwardingState& next, const Rented& rented) {
  if (!has_changed(rented)) return;
  next.external_addresses = with_rented(shown().external, rented.in_table);
  if (is_outdated_) {
    next.policies = std::make_shared<const conntrack::NatPolicies>(shown().policies);
    next.egress_rules = plan_egress_rules(shown().config);
    fill_uplinks(next);
  }
  set_forwards(forwards_shown(rented.in_use), next);
  set_static_nat(pairs_shown(), next);
  is_outdated_ = false;
  rented_ = rented;
}

}  // namespace vmnat::control
