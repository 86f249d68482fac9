// SPDX-License-Identifier: Apache-2.0
// LiveNat: what the workers' NAT follows, external addresses, policies and forwards, and the way from one
// configuration to the next while they forward.
//
//   1. a state with the closing plan is published: nothing opens by what goes (plan/nat_plan.h)
//   2. every worker has finished a poll with it
//   3. the workers end the sessions of what goes
//   4. a state with the wanted plan is published; once every worker has finished a poll with it, the indices of
//      addresses that went are free, and the change is in effect
//
// A network that moves to another uplink changes in the same way: by 1 it is there, and its sessions on the address of the
// one before do not leave any more (ForwardingState::is_left_behind).
//
// Where no session has to end, 1 to 3 are left out. poll() takes the steps, the publishing is its owner's:
// has_changed() says when, fill() what. What the new configuration still allows goes on: sessions, mappings,
// ports. A session whose network has another mapping, filter or reserved port now keeps its endpoint.
#pragma once

#include <optional>

#include "control/gateway/state_publisher.h"
#include "control/gateway/worker_flush.h"
#include "control/plan/nat_plan.h"
#include "control/result.h"

namespace vmnat::control {

// The addresses that DHCP has given uplinks. In the table of addresses one stays until its sessions have ended.
struct Rented {
  RentedAddresses in_table, in_use;
  bool operator==(const Rented&) const = default;
};

class LiveNat {
 public:
  // All references outlive it. `room`: every index is below it.
  LiveNat(NatPlan running, unsigned room, const StatePublisher& states, Workers& workers, FlushTurns& turns)
      : running_(std::move(running)), room_(room), states_(states), workers_(workers), turns_(turns) {}

  // The plan for another configuration, or other uplinks of the same networks; an Error where there is no room for its
  // addresses beside those that are there now.
  [[nodiscard]] Result<NatPlan> plan(const config::Config& wanted, const NetworkWays& ways = {}) const;
  // Sets out. Not while it is under way. `rented`: in the table.
  void change_to(NatPlan wanted, const RentedAddresses& rented);
  [[nodiscard]] bool is_under_way() const { return step_ != Step::AtRest; }
  // Called again and again while it is under way. Once the change is in effect: how many sessions it has ended.
  std::optional<std::uint64_t> poll();

  // The state that was filled in last is out of date.
  [[nodiscard]] bool has_changed(const Rented& rented) const { return is_outdated_ || rented != rented_; }
  // Which uplinks networks are on stands in it, too.
  void fill(dataplane::ForwardingState& next, const Rented& rented);

  // What holds now, or did until the change that is under way.
  [[nodiscard]] const NatPlan& running() const { return running_; }
  // Of all changes.
  [[nodiscard]] std::uint64_t sessions_ended() const { return sessions_ended_; }

 private:
  enum class Step { AtRest, Closing, Ending, Opening };

  [[nodiscard]] const NatPlan& shown() const;
  [[nodiscard]] std::vector<ForwardPlan> forwards_shown(const RentedAddresses& rented) const;
  void fill_uplinks(dataplane::ForwardingState& next) const;
  [[nodiscard]] std::vector<dataplane::AddressPair> pairs_shown() const;
  void go_on_to(Step step);
  [[nodiscard]] bool is_seen() const { return workers_.least_seen_generation() >= awaited_state_; }

  NatPlan running_;
  unsigned room_;
  const StatePublisher& states_;
  Workers& workers_;
  FlushTurns& turns_;
  Step step_ = Step::AtRest;
  NatPlan closing_, wanted_;  // while it is under way
  std::shared_ptr<const dataplane::DepartingSessions> departures_;
  std::optional<WorkerFlush> flush_;
  std::uint64_t ended_ = 0;          // by this change
  std::uint64_t awaited_state_ = 0;  // generation of the state that shows this step
  std::uint64_t sessions_ended_ = 0;
  Rented rented_{};  // in the state that was filled in last
  bool is_outdated_ = false;
};

}  // namespace vmnat::control
