// SPDX-License-Identifier: Apache-2.0
#include "control/slow_path/slow_path.h"

#include <algorithm>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <utility>

#include "control/plan/live_settings.h"
#include "net/arp.h"

namespace vmnat::control {
namespace {

using dataplane::kUplinkPort;
using dataplane::PuntReason;

// Between two forwarding states: ten times what the last one took to make, so that whoever changes something
// again and again has a tenth of control's time, and a hundred states a second, at most.
constexpr std::chrono::milliseconds kLeastPause{10}, kLongestPause{200};

SteadyTime::duration pause_after(SteadyTime::duration making) {
  return std::clamp<SteadyTime::duration>(10 * making, kLeastPause, kLongestPause);
}

std::optional<RentedAddress> rented_address(const config::Config& config, Gateway& gateway) {
  if (config.uplink.address) return std::nullopt;
  return RentedAddress(gateway.states(), gateway.workers(), gateway.flush_turns(), gateway.session_keeper());
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
      uplink_(config_, states_, rented_address(config_, gateway), log_),
      inside_(config_, gateway.ports(), states_, log_, std::chrono::steady_clock::now()),
      tables_(gateway.ports(), places_, states_),
      rule_log_(gateway.ports(), log_),
      nat_(gateway.first_nat(), gateway.external_ports().capacity(), states_, gateway.workers(),
           gateway.flush_turns()),
      most_mtu_(gateway.ports()[kUplinkPort].mtu) {
  const SteadyTime now = std::chrono::steady_clock::now();
  follow_links(now);
  links_.tell_who_waits();
  tables_.follow_leases(dhcp_.commit().news);
  publish(now);
  uplink_.resolve_router(now);
}

void SlowPath::poll(SteadyTime now, dhcp::WallTime wall) {
  follow_links(now);
  move_sessions();
  if (take_from_workers(now, wall) != 0) last_heard_ = now;
  // VMs of networks that name no resolvers are told those of the lease.
  if (const dhcp::Binding* lease = uplink_.advance(now)) dhcp_.use_resolvers(lease->dns);
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
    if (port == kUplinkPort)
      uplink_.link_came_up(now);
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
      return uplink_.hear_dhcp(frame);
    case PuntReason::ArpReply:
      return hear_arp(frame, note.port, now, wall);
    case PuntReason::NeighborUnresolved:
      return uplink_.wait_for_next_hop(frame, note.port, now);
    case PuntReason::HostUnresolved:
      return inside_.wait_for_host(note.host, frame, note.port, now);
    case PuntReason::kCount:
      break;
  }
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
  if (port == kUplinkPort) return uplink_.hear_arp(frame, now);
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
  for (const FrameBytes& frame : uplink_.take_output()) injector_.transmit(frame, kUplinkPort);
  for (const Neighbors::Unreachable& unreachable : uplink_.take_unreachable())
    injector_.return_unreachable(unreachable, dataplane::DropReason::NeighborUnresolved);
  for (const auto& [network, address] : dhcp_.checks().take_questions())
    inside_.ask(network, address, injector_);
  inside_.send(injector_);
}

bool SlowPath::is_state_outdated(SteadyTime now) const {
  return is_outdated_ || nat_.has_changed(uplink_.rented_addresses()) || links_.has_changed() ||
         uplink_.has_changed() || inside_.has_changed() || tables_.has_changed() || has_other_questions(now);
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
  if (wanted.uplink.mtu > most_mtu_)
    return tl::unexpected(Error{
        "uplink.mtu",
        fmt::format("more than the {} that the device was opened with needs a restart; nothing was changed",
                    most_mtu_)});
  auto plan = nat_.plan(wanted);
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
  uplink_.prepare(planned_->config.uplink, now);
  advance_change(now);
  tell_workers(now);
}

void SlowPath::advance_change(SteadyTime now) {
  if (planned_ && uplink_.is_prepared(now)) set_out(now);
  if (const auto ended = nat_.poll()) conclude(*ended);
}

// From the next state on. New addresses are announced after it, and the VMs behind new forwards asked for.
void SlowPath::set_out(SteadyTime now) {
  const NatPlan plan = *std::exchange(planned_, std::nullopt);
  const conntrack::ExternalAddresses& former = *nat_.running().external;
  uplink_.adopt_prepared();
  for (const auto& entry : plan.external->entries())
    if (!entry.address.is_unspecified() && !former.index_of(entry.address))
      uplink_.announce(entry.address, now);
  going_.clear();
  for (const auto& entry : former.entries())
    if (!entry.address.is_unspecified() && !plan.external->index_of(entry.address))
      going_.push_back(entry.address);
  inside_.follow_targets(plan.config, now);
  nat_.change_to(plan, uplink_.rented_addresses().in_table);
}

void SlowPath::conclude(std::uint64_t sessions_ended) {
  for (const net::Ipv4Addr address : going_) uplink_.withdraw(address);
  spdlog::info("reload: in effect; {} sessions ended with what is gone", sessions_ended);
}

void SlowPath::publish(SteadyTime now) {
  dataplane::ForwardingState next = states_.current();
  uplink_.fill(next);  // before set_live(), which asks for its MTU
  links_.fill(next, workers_.count());
  set_live(config_, next);
  is_outdated_ = false;
  nat_.fill(next, uplink_.rented_addresses());
  const std::vector<bool> has_new_macs = tables_.fill(next);
  inside_.fill(next, has_new_macs);
  for (std::size_t i = 0; i < next.networks.size(); ++i)
    next.networks[i].awaits_arp = dhcp_.checks().awaits_replies(static_cast<NetworkIndex>(i), now);
  polling_.fill(next);
  states_.publish(std::move(next));
}

}  // namespace vmnat::control
