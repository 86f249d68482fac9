// SPDX-License-Identifier: Apache-2.0
#include "control/slow_path/slow_path.h"

#include <algorithm>
#include <fmt/format.h>
#include <rte_cycles.h>
#include <spdlog/spdlog.h>
#include <utility>

#include "control/plan/limits.h"
#include "control/plan/live_settings.h"
#include "net/arp.h"

namespace vmnat::control {
namespace {

using dataplane::PuntReason;

// Between two forwarding states: ten times what the last one took to make, so that whoever changes something
// again and again has a tenth of control's time, and a hundred states a second, at most.
constexpr std::chrono::milliseconds kLeastPause{10}, kLongestPause{200};

SteadyTime::duration pause_after(SteadyTime::duration making) {
  return std::clamp<SteadyTime::duration>(10 * making, kLeastPause, kLongestPause);
}

Uplinks::Rents rented_addresses(const config::Config& config, Gateway& gateway) {
  Uplinks::Rents rents(config::uplink_count(config));
  for (std::size_t i = 0; i < rents.size(); ++i)
    if (!config::uplink_at(config, i).address)
      rents[i].emplace(gateway.states(), gateway.workers(), gateway.flush_turns(), gateway.session_keeper(),
                       i == 0 ? std::string{} : config::uplink_name(config, i));
  return rents;
}

std::vector<std::uint16_t> uplink_mtus(const std::vector<PortPlan>& ports) {
  std::vector<std::uint16_t> mtus;
  for (const PortPlan& port : ports)
    if (port.is_uplink) mtus.push_back(port.mtu);
  return mtus;
}

}  // namespace

SlowPath::SlowPath(Gateway& gateway)
    : config_(gateway.config()),
      ports_(gateway.ports()),
      polling_(gateway.polling()),
      states_(gateway.states()),
      workers_(gateway.workers()),
      turns_(gateway.flush_turns()),
      reader_(gateway.rings()),
      injector_(gateway.packet_pool(), gateway.rings(), gateway.ports(), gateway.external_ports(),
                gateway.states()),
      links_(gateway.devices(), gateway.ports(), log_),
      places_(gateway.ports()),
      dhcp_(config_, gateway.ports(), places_, std::chrono::system_clock::now(),
            std::chrono::steady_clock::now()),
      uplinks_(config_, gateway.first_ways(), states_, rented_addresses(config_, gateway), log_),
      inside_(on_uplinks(config_, uplinks_.ways()), gateway.ports(), states_, log_,
              std::chrono::steady_clock::now()),
      tables_(gateway.ports(), places_, states_),
      rule_log_(gateway.ports(), log_),
      nat_(gateway.first_nat(), gateway.external_ports().capacity(), states_, gateway.workers(),
           gateway.flush_turns()),
      session_keeper_(gateway.session_keeper()),
      most_mtus_(uplink_mtus(gateway.ports())) {
  const SteadyTime now = std::chrono::steady_clock::now();
  follow_links(now);
  links_.tell_who_waits();
  tables_.follow_leases(dhcp_.commit().news);
  publish(now);
  uplinks_.resolve_routers(now);
}

void SlowPath::poll(SteadyTime now, dhcp::WallTime wall) {
  follow_links(now);
  move_sessions();
  if (take_from_workers(now, wall) != 0) last_heard_ = now;
  // VMs of networks that name no resolvers are told those of the lease.
  if (uplinks_.advance(now)) dhcp_.use_resolvers(uplinks_.resolvers_of_leases());
  dhcp_.advance(wall, now);
  inside_.advance(now);
  advance_change(now);
  if (now >= next_round_) tell_workers(now);
  rule_log_.tell(states_.current().rules.get(), now);
  log_.tell_suppressed(now);
  states_.reclaim(workers_.least_seen_generation());
}

void SlowPath::follow_links(SteadyTime now) {
  for (const auto& [port, is_up] : links_.look(now)) {
    last_heard_ = now;
    tables_.follow_link(port, is_up);
    if (const auto move = places_.follow_link(port, is_up)) move_vm(*move, now);
    if (!is_up) continue;
    if (ports_[port].is_uplink)
      uplinks_[port].link_came_up(now);
    else
      inside_.link_came_up(port, now);
  }
}

// Its owners are in the next state, its leases are known from now on, and its sessions follow soon: until then
// frames for it are dropped, as they were while it was on its way.
void SlowPath::move_vm(const VmPlaces::Move& move, SteadyTime now) {
  const std::string &from = ports_[move.from].name, &to = ports_[move.to].name;
  log_.log(spdlog::level::info, {"migration", to}, now, "the VM of port {} is at port {} now", from, to);
  tables_.follow_move(move.to);
  moving_.emplace_back(workers_, turns_, dataplane::SessionSelector{.port = move.from}, move.to);
}

void SlowPath::move_sessions() {
  while (!moving_.empty() && moving_.front().poll()) moving_.pop_front();
}

unsigned SlowPath::take_from_workers(SteadyTime now, dhcp::WallTime wall) {
  const unsigned punts = reader_.take_punts(
      [&](const dataplane::FrameNote& note, const FrameBytes& frame) { take_punt(note, frame, now, wall); });
  const unsigned learned =
      reader_.take_learned([&](const dataplane::LearnedMac& mac) { take_learned(mac, now, wall); });
  return punts + learned;
}

void SlowPath::take_punt(const dataplane::FrameNote& note, const FrameBytes& frame, SteadyTime now,
                         dhcp::WallTime wall) {
  if (!ports_[note.port].exists) return;  // it has left meanwhile
  switch (note.punt) {
    case PuntReason::Dhcp:
      return dhcp_.receive(frame, note.port, wall, now);
    case PuntReason::UplinkDhcp:
      return uplinks_[note.port].hear_dhcp(frame);
    case PuntReason::ProbeReply:
      return uplinks_[note.port].hear_echo(frame);
    case PuntReason::ArpReply:
      return hear_arp(frame, note.port, now, wall);
    case PuntReason::NeighborUnresolved:
      return uplinks_[way_out(frame, note.port)].wait_for_next_hop(frame, note.port, now);
    case PuntReason::HostUnresolved:
      return inside_.wait_for_host(note.host, frame, note.port, now);
    case PuntReason::kCount:
      break;
  }
}

// Of a translated frame. Its network may have gone to another uplink since: its address does not leave by that.
PortIndex SlowPath::way_out(const FrameBytes& frame, PortIndex from) const {
  const dataplane::ForwardingState& state = states_.current();
  const auto* ip = net::view<net::Ipv4Header>(frame, sizeof(net::EthernetHeader));
  const auto uplink = ip != nullptr ? state.first_uplink_of(ip->source) : std::nullopt;
  return uplink.value_or(state.uplink_port(ports_[from].network));
}

// With an address it stands for the ARP packet that said so, which has gone on its way.
void SlowPath::take_learned(const dataplane::LearnedMac& learned, SteadyTime now, dhcp::WallTime wall) {
  if (!ports_[learned.port].exists) return;
  if (learned.address.is_unspecified()) return tables_.learn(learned);
  const net::ArpFrame said = net::arp_request(learned.mac, learned.address, {});
  hear_arp(said.bytes(), learned.port, now, wall);
}

void SlowPath::hear_arp(std::span<const std::byte> frame, PortIndex port, SteadyTime now,
                        dhcp::WallTime wall) {
  if (ports_[port].is_uplink) return uplinks_[port].hear_arp(frame, now);
  if (inside_.note_gateway_claim(frame, port, now)) return;
  dhcp_.receive_arp(frame, port, wall, now);
  inside_.hear_arp(frame, port, now);
}

// A frame that was waiting goes out after the state that its followers will use is there, an ARP request
// after the one that has its answer passed on; and a VM hears of its lease after the guard has. So all of it
// waits until a state may be published again.
void SlowPath::tell_workers(SteadyTime now) {
  const DhcpService::Committed committed = dhcp_.commit();
  tables_.follow_leases(committed.news);
  if (is_state_outdated(now)) {
    const SteadyTime begin = std::chrono::steady_clock::now();
    publish(now);
    next_round_ = now + pause_after(std::chrono::steady_clock::now() - begin);
  }
  for (const auto& [port, frame] : committed.replies) injector_.transmit(frame, port);
  send_by_uplinks();
  for (const auto& [network, address] : dhcp_.checks().take_questions())
    inside_.ask(network, address, injector_);
  inside_.send(injector_);
}

void SlowPath::send_by_uplinks() {
  for (std::size_t i = 0; i < uplinks_.size(); ++i) {
    for (const FrameBytes& frame : uplinks_[i].take_output())
      injector_.transmit(frame, static_cast<PortIndex>(i));
    for (const Neighbors::Unreachable& unreachable : uplinks_[i].take_unreachable())
      injector_.return_unreachable(unreachable, dataplane::DropReason::NeighborUnresolved);
  }
}

bool SlowPath::is_state_outdated(SteadyTime now) const {
  return is_outdated_ || nat_.has_changed(uplinks_.rented()) || links_.has_changed() ||
         uplinks_.has_changed() || inside_.has_changed() || tables_.has_changed() || has_other_questions(now);
}

// Workers pass on ARP replies of the networks that are asked about addresses.
bool SlowPath::has_other_questions(SteadyTime now) const {
  const auto& networks = states_.current().networks;
  for (std::size_t i = 0; i < networks.size(); ++i)
    if (networks[i].awaits_arp != dhcp_.checks().awaits_replies(static_cast<NetworkIndex>(i), now))
      return true;
  return false;
}

Result<void> SlowPath::plan_change(const config::Config& wanted) {
  for (std::size_t i = 0; i < most_mtus_.size(); ++i)
    if (config::uplink_at(wanted, i).mtu > most_mtus_[i])
      return tl::unexpected(Error{
          wanted.uplinks.empty() ? "uplink.mtu" : "uplinks." + uplinks_[i].name() + ".mtu",
          fmt::format("more than the {} that the device was opened with needs a restart; nothing was changed",
                      most_mtus_[i])});
  auto plan = nat_.plan(wanted, uplinks_.ways_for(wanted, std::chrono::steady_clock::now()));
  if (!plan) return tl::unexpected(plan.error());
  next_plan_ = std::move(*plan);
  return {};
}

// All leases are said again before the next state, whose owners are made anew.
void SlowPath::follow_configuration(const TopologyChange& change, SteadyTime now, dhcp::WallTime wall) {
  links_.follow_ports(change.ports_left);
  places_.follow_ports();
  for (const PortIndex port : change.ports_come) links_.tell_who_waits(port);
  tables_.follow_plan(change.ports_left);
  std::vector<NetworkIndex> changed = change.networks_left;
  for (const auto* networks : {&change.networks_come, &change.networks_moved})
    changed.insert(changed.end(), networks->begin(), networks->end());
  inside_.follow_networks(changed);
  dhcp_.follow_networks(wall, now);
  is_outdated_ = true;
  planned_ = std::exchange(next_plan_, std::nullopt);
  uplinks_.prepare(planned_->config, now);
  advance_change(now);
  tell_workers(now);
}

void SlowPath::advance_change(SteadyTime now) {
  if (planned_ && uplinks_.is_prepared(now)) set_out(now);
  if (const auto ended = nat_.poll()) conclude(*ended);
  if (!is_change_under_way()) follow_uplinks(now);
}

// From the next state on. New addresses are announced after it, and the VMs behind new forwards asked for.
void SlowPath::set_out(SteadyTime now) {
  uplinks_.adopt_prepared();
  inside_.follow_targets(planned_->config, now);
  is_reload_ = true;
  change_nat(*std::exchange(planned_, std::nullopt), now);
}

// Networks whose uplink is dead, or whose own one has come back, go over to another one.
void SlowPath::follow_uplinks(SteadyTime now) {
  const auto ways = uplinks_.wanted(now);
  if (!ways) return;
  auto plan = nat_.plan(config_, *ways);
  if (!plan) return log_.log(spdlog::level::err, {"failover", "plan"}, now, "{}", to_string(plan.error()));
  is_reload_ = false;
  last_heard_ = now;
  inside_.follow_targets(plan->config, now);
  change_nat(*std::move(plan), now);
}

void SlowPath::change_nat(NatPlan plan, SteadyTime now) {
  announce_what_changes(plan, now);
  uplinks_.take(plan.config, plan.ways, now);
  if (uplinks_.size() > 1) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < plan.config.networks.size(); ++i)
      names.push_back(uplinks_[way_of(plan.ways, i)].name());
    session_keeper_.set_uplinks(std::move(names));
  }
  nat_.change_to(std::move(plan), uplinks_.rented().in_table);
}

// An address is announced where it comes, and kept up where it leaves until its sessions have ended. What is rented its
// lease announces.
void SlowPath::announce_what_changes(const NatPlan& plan, SteadyTime now) {
  const NatPlan& former = nat_.running();
  const auto is_at = [](const NatPlan& of, net::Ipv4Addr address, std::size_t uplink) {
    const auto index = of.external->index_of(address);
    return index && (of.uplinks_of_external[*index] >> uplink & 1) != 0;
  };
  going_.clear();
  for (std::size_t uplink = 0; uplink < uplinks_.size(); ++uplink) {
    for (const auto& entry : plan.external->entries())
      if (!is_rented_place(entry.address) && is_at(plan, entry.address, uplink) &&
          !is_at(former, entry.address, uplink))
        uplinks_[uplink].announce(entry.address, now);
    for (const auto& entry : former.external->entries())
      if (!is_rented_place(entry.address) && is_at(former, entry.address, uplink) &&
          !is_at(plan, entry.address, uplink))
        going_.emplace_back(uplink, entry.address);
  }
}

void SlowPath::conclude(std::uint64_t sessions_ended) {
  for (const auto& [uplink, address] : going_) uplinks_[uplink].withdraw(address);
  if (is_reload_)
    spdlog::info("reload: in effect; {} sessions ended with what is gone", sessions_ended);
  else
    spdlog::info("networks have changed their uplinks; {} sessions ended with their addresses",
                 sessions_ended);
}

void SlowPath::publish(SteadyTime now) {
  dataplane::ForwardingState next = states_.current();
  uplinks_.fill(next);
  links_.fill(next, workers_.count());
  is_outdated_ = false;
  nat_.fill(next, uplinks_.rented());
  set_live(config_, next);  // of the uplinks that networks are on now
  if (uplinks_.size() > 1) set_limits(config_, ports_, {rte_rdtsc(), rte_get_tsc_hz()}, next);
  const std::vector<bool> has_new_macs = tables_.fill(next);
  inside_.fill(next, has_new_macs);
  for (std::size_t i = 0; i < next.networks.size(); ++i)
    next.networks[i].awaits_arp = dhcp_.checks().awaits_replies(static_cast<NetworkIndex>(i), now);
  polling_.fill(next);
  states_.publish(std::move(next));
}

}  // namespace vmnat::control
