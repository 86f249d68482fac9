// SPDX-License-Identifier: Apache-2.0
// SlowPath: takes the frames that workers punt to those who answer them, and publishes what has been learned.
//
//   punted frames   -> DhcpService, Uplinks, InsideHosts
//   learned MACs    -> SwitchTables
//   links, leases   -> all of them
//   each of them    -> the next forwarding state, then frames for the Injector
//
// Called a few hundred times a second by the control thread. A state is published only when something has
// changed, and a hundred times a second at most.
#pragma once

#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/time.h"
#include "control/dhcp/dhcp_service.h"
#include "control/gateway/gateway.h"
#include "control/gateway/link_watch.h"
#include "control/gateway/live_nat.h"
#include "control/gateway/worker_flush.h"
#include "control/log/log_budget.h"
#include "control/plan/vm_places.h"
#include "control/slow_path/injector.h"
#include "control/slow_path/inside_hosts.h"
#include "control/slow_path/punt_reader.h"
#include "control/slow_path/rule_log.h"
#include "control/slow_path/switch_tables.h"
#include "control/slow_path/uplinks.h"

namespace vmnat::control {

class SlowPath {
 public:
  // Publishes a state, and asks for the routers and the targets of forwards. Our addresses are announced
  // whenever their uplink comes up. The gateway outlives it.
  explicit SlowPath(Gateway& gateway);

  void poll(SteadyTime now, dhcp::WallTime wall);
  // Workers have had nothing for us for a second, and no link has changed: the next poll may wait a little
  // longer.
  [[nodiscard]] bool is_quiet(SteadyTime now) const {
    return now - last_heard_ > std::chrono::seconds(1) && !is_change_under_way();
  }

  // Whether a running gateway can go over to the configuration, whose networks are at their numbers; not asked while
  // a change is under way.
  Result<void> plan_change(const config::Config& wanted);
  // The gateway has gone over to the configuration that was planned for.
  void follow_configuration(const TopologyChange& change, SteadyTime now, dhcp::WallTime wall);
  // It has tried to, and come back.
  void publish_anew() { is_outdated_ = true; }
  // Until all of it holds, and the sessions that it does not allow have ended.
  [[nodiscard]] bool is_change_under_way() const { return planned_ || nat_.is_under_way(); }

  // For what an operator does by hand.
  DhcpService& dhcp() { return dhcp_; }
  [[nodiscard]] const VmPlaces& places() const { return places_; }
  [[nodiscard]] const Uplinks& uplinks() const { return uplinks_; }
  [[nodiscard]] const InsideHosts& inside() const { return inside_; }
  [[nodiscard]] const SwitchTables& tables() const { return tables_; }
  [[nodiscard]] const LiveNat& nat() const { return nat_; }
  [[nodiscard]] const Injector& injector() const { return injector_; }

 private:
  void follow_links(SteadyTime now);
  void move_vm(const VmPlaces::Move& move, SteadyTime now);
  void move_sessions();
  unsigned take_from_workers(SteadyTime now, dhcp::WallTime wall);
  void take_punt(const dataplane::FrameNote& note, const FrameBytes& frame, SteadyTime now,
                 dhcp::WallTime wall);
  void take_learned(const dataplane::LearnedMac& learned, SteadyTime now, dhcp::WallTime wall);
  void hear_arp(std::span<const std::byte> frame, PortIndex port, SteadyTime now, dhcp::WallTime wall);
  [[nodiscard]] bool is_state_outdated(SteadyTime now) const;
  [[nodiscard]] bool has_other_questions(SteadyTime now) const;
  void tell_workers(SteadyTime now);
  void publish(SteadyTime now);
  void send_by_uplinks();
  [[nodiscard]] PortIndex way_out(const FrameBytes& frame, PortIndex from) const;
  void advance_change(SteadyTime now);
  void set_out(SteadyTime now);
  void follow_uplinks(SteadyTime now);
  void change_nat(NatPlan plan, SteadyTime now);
  void announce_what_changes(const NatPlan& plan, SteadyTime now);
  void conclude(std::uint64_t sessions_ended);

  const config::Config& config_;  // what is in effect, with its networks at their numbers
  const std::vector<PortPlan>& ports_;
  Polling& polling_;
  StatePublisher& states_;
  Workers& workers_;
  FlushTurns& turns_;
  LogBudget log_;
  PuntReader reader_;
  Injector injector_;
  LinkWatch links_;
  VmPlaces places_;
  DhcpService dhcp_;
  Uplinks uplinks_;
  InsideHosts inside_;
  SwitchTables tables_;
  RuleLog rule_log_;
  LiveNat nat_;
  SessionKeeper& session_keeper_;
  std::vector<std::uint16_t> most_mtus_;  // that the uplinks' devices were opened for
  std::optional<NatPlan> planned_;        // waits until the uplink is prepared for it
  std::optional<NatPlan> next_plan_;      // that was asked for last
  // In the change that is under way: external addresses, and the uplinks that they leave.
  std::vector<std::pair<std::size_t, net::Ipv4Addr>> going_;
  bool is_reload_ = false;  // that change; else networks go over to another uplink
  bool is_outdated_ = false;
  std::deque<WorkerFlush> moving_;  // sessions of VMs that have moved, one after another
  SteadyTime last_heard_{};         // from a worker, or of a link
  SteadyTime next_round_{};         // of tell_workers()
};

}  // namespace vmnat::control
