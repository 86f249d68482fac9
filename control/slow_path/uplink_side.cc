// SPDX-License-Identifier: Apache-2.0
#include "control/slow_path/uplink_side.h"

#include <iterator>
#include <spdlog/spdlog.h>
#include <utility>

#include "base/random_seed.h"
#include "net/arp.h"

namespace vmnat::control {
namespace {

// Where another uplink could take over: a router that has not answered for so long is asked.
constexpr std::chrono::seconds kRouterCheck{5};

}  // namespace

UplinkSide::UplinkSide(const config::Config& config, PortIndex number, const StatePublisher& states,
                       const std::optional<RentedAddress>& rented, LogBudget& log)
    : config_(config),
      number_(number),
      name_(config::uplink_name(config, number)),
      states_(states),
      log_(log),
      neighbors_(current().mac, current().address.address),
      own_addresses_(current().mac),
      probe_(random_seed()),
      place_(place_of(settings())),
      prepared_(place_) {
  if (rented)
    client_.emplace(config, number, current().mac, *rented, UplinkClient::OnLink{neighbors_, own_addresses_});
}

void UplinkSide::resolve_router(SteadyTime now) {
  neighbors_.keep_resolved(current().gateway, now);
}

// Requests bear the new address from now on: the new router may not answer others.
void UplinkSide::prepare(const config::Config& wanted, SteadyTime now) {
  prepared_ = place_of(config::uplink_at(wanted, number_));
  prepared_until_ = now + Neighbors::kPatience;
  if (client_ || prepared_ == place_) return;
  neighbors_.change_own_address(prepared_.address.address);
  neighbors_.keep_resolved(prepared_.router, now);
}

bool UplinkSide::is_prepared(SteadyTime now) const {
  return client_ || prepared_ == place_ || now >= prepared_until_ ||
         !neighbors_.mac_of(prepared_.router).is_zero();
}

void UplinkSide::adopt_prepared() {
  if (client_ || prepared_ == place_) return;
  if (prepared_.router != place_.router) neighbors_.release(place_.router);
  place_ = prepared_;
  place_changed_ = true;
}

void UplinkSide::link_came_up(SteadyTime now) {
  for (const auto& entry : states_.current().external_addresses->entries())
    if (is_own_address(entry.address)) own_addresses_.announce(entry.address, now);
  neighbors_.link_returned(now);
  if (client_) client_->link_up();
}

bool UplinkSide::is_own_address(net::Ipv4Addr address) const {
  return !address.is_unspecified() && states_.current().is_own_address(address, number_);
}

void UplinkSide::hear_arp(std::span<const std::byte> frame, SteadyTime now) {
  if (client_) client_->receive_arp(frame);
  neighbors_.receive_arp(frame, now);
  const auto claim = net::arp_claim_in(frame);
  if (!claim || claim->mac == current().mac || !is_own_address(claim->address)) return;
  own_addresses_.defend(claim->address, now);
  log_.log(spdlog::level::warn, {"conflict", name_}, now,
           "{}: another station, {}, says that it has our address {}", name_, net::to_string(claim->mac),
           net::to_string(claim->address));
}

void UplinkSide::hear_dhcp(std::span<const std::byte> frame) {
  if (client_) client_->receive(frame);
}

void UplinkSide::wait_for_next_hop(const FrameBytes& frame, PortIndex from, SteadyTime now) {
  const auto* ip = net::view<net::Ipv4Header>(frame, sizeof(net::EthernetHeader));
  if (ip == nullptr) return;
  neighbors_.send_to(current().next_hop(ip->destination), frame, from, now);
}

const dhcp::Binding* UplinkSide::advance(SteadyTime now) {
  const bool has_new_lease = client_ && client_->advance(now);
  lease_changed_ |= has_new_lease;
  neighbors_.advance(now);
  own_addresses_.advance(now);
  watch_router(now);
  ask_probe(now);
  neighbors_changed_ |= neighbors_.take_changed();
  return has_new_lease && client_->in_effect() ? &*client_->in_effect() : nullptr;
}

// One that cannot be sent counts as unanswered. A probe on the link is a neighbour that is kept resolved.
void UplinkSide::ask_probe(SteadyTime now) {
  probe_.set_target(config::probe_of(config_, number_).value_or(net::Ipv4Addr{}));
  if (!probe_.take_due(now) || !current().has_address()) return;
  const net::Ipv4Addr next_hop = current().next_hop(probe_.target());
  if (next_hop.is_unspecified()) return;
  if (next_hop != current().gateway) neighbors_.keep_resolved(next_hop, now);
  if (!neighbors_.mac_of(next_hop).is_zero())
    neighbors_.send_to(next_hop, probe_.request(current().address.address), number_, now);
}

UplinkTrouble UplinkSide::trouble() const {
  if (!states_.current().ports[number_].up) return UplinkTrouble::NoLink;
  if (!current().has_address()) return UplinkTrouble::NoAddress;
  if (router_is_silent_) return UplinkTrouble::SilentGateway;
  return probe_.is_silent() ? UplinkTrouble::SilentProbe : UplinkTrouble::None;
}

void UplinkSide::watch_router(SteadyTime now) {
  const net::Ipv4Addr address = current().gateway;
  if (std::exchange(router_, address) != address) router_mac_ = {};
  const auto router = neighbors_.all().find(address);
  const bool is_known = router != neighbors_.all().end();
  const bool is_silent = is_known && router->second.requests_sent > Neighbors::kRequests;
  if (is_known && config_.uplinks.size() > 1 && now - router->second.confirmed >= kRouterCheck)
    neighbors_.ask_again(address, now);
  const bool was_silent = std::exchange(router_is_silent_, is_silent);
  const net::MacAddr mac = neighbors_.mac_of(address), former = std::exchange(router_mac_, mac);
  if (mac != former && !mac.is_zero() && !former.is_zero())
    log_.log(spdlog::level::info, {"router", name_}, now, "{}: the router {} has moved from {} to {}", name_,
             net::to_string(address), net::to_string(former), net::to_string(mac));
  if (is_silent == was_silent || !is_known) return;
  log_.log(is_silent ? spdlog::level::warn : spdlog::level::info, {"router", name_}, now,
           "{}: the router {} {}", name_, net::to_string(address),
           is_silent ? "does not answer ARP; its last MAC address, if there is one, is used"
                     : "answers ARP again");
}

bool UplinkSide::has_changed() const {
  return lease_changed_ || place_changed_ || neighbors_changed_ || is_client_ahead() ||
         current().probe != probe_.target();
}

// The client's question is sent after the workers know by what they will know its answer.
bool UplinkSide::is_client_ahead() const {
  const dataplane::Uplink& uplink = current();
  return client_ && (uplink.dhcp_transaction != client_->client().transaction() ||
                     uplink.checked_address != client_->client().checked());
}

void UplinkSide::fill(dataplane::ForwardingState& next) {
  dataplane::Uplink& uplink = next.uplinks[number_];
  if (client_) {
    client_->describe(uplink);
    uplink.awaited = is_waiting_for_lease() ? client_->in_table() : net::Ipv4Addr{};
  } else {
    uplink.address = place_.address;
    uplink.gateway = place_.router;
    uplink.mtu = settings().mtu;
  }
  uplink.probe = probe_.target();
  if (lease_changed_ || neighbors_changed_) uplink.neighbors = next_hops();
  uplink.gateway_mac = neighbors_.mac_of(uplink.gateway);
  lease_changed_ = neighbors_changed_ = place_changed_ = false;
}

dataplane::WordTable<dataplane::NextHop> UplinkSide::next_hops() const {
  std::vector<dataplane::WordTable<dataplane::NextHop>::Entry> hops;
  for (const auto& [address, neighbor] : neighbors_.all())
    hops.push_back({address.raw(), {neighbor.mac, neighbor.state == Neighbors::State::Silent}});
  return dataplane::WordTable<dataplane::NextHop>(hops);
}

std::vector<FrameBytes> UplinkSide::take_output() {
  std::vector<FrameBytes> frames = own_addresses_.take_output();
  for (FrameBytes& frame : neighbors_.take_output()) frames.push_back(std::move(frame));
  return frames;
}

std::vector<net::Ipv4Addr> UplinkSide::resolvers_of_lease() const {
  return client_ && client_->in_effect() ? client_->in_effect()->dns : std::vector<net::Ipv4Addr>{};
}

}  // namespace vmnat::control
