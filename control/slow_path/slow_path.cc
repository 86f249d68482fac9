// SPDX-License-Identifier: Apache-2.0
#include "control/slow_path/slow_path.h"

#include <algorithm>
#include <cstring>
#include <rte_mbuf.h>
#include <spdlog/spdlog.h>
#include <utility>

#include "dataplane/frame/new_frame.h"
#include "control/plan/live_settings.h"
#include "control/plan/policies.h"
#include "net/arp.h"

namespace vmnat::control {
namespace {

using dataplane::kUplinkPort;
using dataplane::PuntReason;

// Bounds what one poll can take, whatever VMs send: frames in all, and learned MACs of each worker.
constexpr unsigned kPuntsPerPoll = 1024;
constexpr unsigned kLearnsPerPoll = 256;
// Between two forwarding states: ten times what the last one took to make, so that whoever changes something
// again and again has a tenth of control's time, and a hundred states a second, at most.
constexpr std::chrono::milliseconds kLeastPause{10}, kLongestPause{200};

SteadyTime::duration pause_after(SteadyTime::duration making) {
  return std::clamp<SteadyTime::duration>(10 * making, kLeastPause, kLongestPause);
}

// The whole frame in one piece.
void copy_out(const rte_mbuf* frame, FrameBytes& bytes) {
  bytes.resize(frame->pkt_len);
  const void* start = rte_pktmbuf_read(frame, 0, frame->pkt_len, bytes.data());
  if (start != nullptr && start != bytes.data()) std::memcpy(bytes.data(), start, bytes.size());
}

}  // namespace

SlowPath::SlowPath(const config::Config& config, Gateway& gateway)
    : config_(config),
      gateway_(gateway),
      dhcp_(config, gateway.ports(), std::chrono::system_clock::now(), std::chrono::steady_clock::now()),
      neighbors_(gateway.states().current().uplink.mac, gateway.states().current().uplink.address.address),
      own_addresses_(gateway.states().current().uplink.mac),
      ownership_(gateway.ports(), gateway.states().current()),
      is_up_(gateway.ports().size(), false),
      offloads_(gateway.ports().size()),
      tx_queues_(gateway.ports().size(), 1),
      stale_(gateway.states().current().networks.size()) {
  const SteadyTime now = std::chrono::steady_clock::now();
  if (!config.uplink.address)
    uplink_.emplace(
        config, gateway.states().current().uplink.mac,
        RentedAddress(gateway.external_ports(), gateway.states(), gateway.workers(), gateway.flush_turns()),
        neighbors_, own_addresses_);
  keep_targets_resolved(config, now);
  watch_links(now);
  tell_who_waits();
  follow_leases();
  publish();
  const dataplane::Uplink& uplink = gateway_.states().current().uplink;
  if (!uplink.gateway.is_unspecified()) neighbors_.keep_resolved(uplink.gateway, now);
}

// Before the first frame for them comes, so that none has to wait.
void SlowPath::keep_targets_resolved(const config::Config& config, SteadyTime now) {
  for (const dataplane::Network& network : gateway_.states().current().networks)
    inside_.emplace_back(network.mac, network.gateway.address);
  for (const ForwardPlan& forward : plan_forwards(config))
    inside_[forward.network].keep_resolved(forward.to.address, now);
}

void SlowPath::poll(SteadyTime now, dhcp::WallTime wall) {
  watch_links(now);
  unsigned taken = take_punts(now, wall);
  for (ControlRings& rings : gateway_.rings()) taken += learn_macs(rings.learn, now, wall);
  if (taken != 0) last_heard_ = now;
  advance_uplink(now);
  dhcp_.advance(wall, now);
  listen_for_checks(now);
  neighbors_.advance(now);
  own_addresses_.advance(now);
  watch_router(now);
  for (Neighbors& network : inside_) network.advance(now);
  if (now >= next_round_) tell_workers(now);
  log_.tell_suppressed(now);
  gateway_.states().reclaim(gateway_.workers().least_seen_generation());
}

// A frame that was waiting goes out after the state that its followers will use is there, an ARP request
// after the one that has its answer passed on; and a VM hears of its lease after the guard has. So all of it
// waits until a state may be published again.
void SlowPath::tell_workers(SteadyTime now) {
  const auto replies = dhcp_.take_replies();
  follow_leases();
  neighbors_changed_ |= neighbors_.take_changed();
  changed_ |= neighbors_changed_;
  for (std::size_t i = 0; i < inside_.size(); ++i) note_change(inside_[i].take_changed(), stale_[i].hosts);
  if (changed_) {
    const SteadyTime begin = std::chrono::steady_clock::now();
    publish();
    next_round_ = now + pause_after(std::chrono::steady_clock::now() - begin);
  }
  for (const auto& [port, frame] : replies) inject(frame, port);
  for (const FrameBytes& frame : own_addresses_.take_output()) inject(frame, kUplinkPort);
  for (const FrameBytes& frame : neighbors_.take_output()) inject(frame, kUplinkPort);
  return_unreachable(neighbors_, dataplane::DropReason::NeighborUnresolved);
  for (const auto& [network, address] : dhcp_.checks().take_questions()) {
    const dataplane::Network& on = gateway_.states().current().networks[network];
    inject_on_network(net::arp_request(on.mac, on.gateway.address, address).bytes(), network);
  }
  for (std::size_t i = 0; i < inside_.size(); ++i) {
    for (const FrameBytes& frame : inside_[i].take_output())
      inject_on_network(frame, static_cast<NetworkIndex>(i));
    return_unreachable(inside_[i], dataplane::DropReason::HostUnresolved);
  }
}

// The worker tells their senders (dataplane/pipeline/unreachable.h).
void SlowPath::return_unreachable(Neighbors& neighbors, dataplane::DropReason reason) {
  for (const auto& [frame, port] : neighbors.take_unreachable())
    push(frame, {.port = port, .errand = dataplane::FrameNote::Errand::Unreachable, .reason = reason},
         gateway_.ports()[port].owner);
}

void SlowPath::note_change(bool has_changed, bool& is_stale) {
  is_stale |= has_changed;
  changed_ |= has_changed;
}

// Workers take the policies with the next state; the old ones go with the last state that has them.
void SlowPath::adopt(const config::Config& config) {
  dhcp_.reconfigure();
  follow_leases();
  publish();
  dataplane::ForwardingState next = gateway_.states().current();
  next.policies =
      std::make_shared<const conntrack::NatPolicies>(plan_policies(config, gateway_.address_lists()));
  gateway_.states().publish(std::move(next));
}

void SlowPath::watch_links(SteadyTime now) {
  for (std::size_t i = 0; i < is_up_.size(); ++i) {
    const auto port = static_cast<PortIndex>(i);
    const bool is_up = gateway_.devices()[port].is_up();
    // Another guest may have come between two looks.
    const auto offloads = is_up ? gateway_.devices()[port].offloads() : dataplane::Offloads{};
    const std::uint16_t tx_queues =
        is_up ? gateway_.devices()[port].open_transmit_queues() : std::uint16_t{1};
    if (offloads != offloads_[i] || tx_queues != tx_queues_[i]) changed_ = true;
    offloads_[i] = offloads;
    tx_queues_[i] = tx_queues;
    if (is_up == is_up_[i]) continue;
    is_up_[i] = is_up;
    changed_ = true;
    if (port != kUplinkPort) stale_[gateway_.ports()[i].network].macs = true;
    if (!is_up) macs_.forget_port(port);
    if (is_up && port == kUplinkPort) uplink_came_up(now);
    log_.log(spdlog::level::info, {"link", gateway_.ports()[i].name}, now, "port {} is {}",
             gateway_.ports()[i].name, is_up ? "up" : "down");
  }
}

void SlowPath::watch_router(SteadyTime now) {
  const net::Ipv4Addr address = gateway_.states().current().uplink.gateway;
  const auto router = neighbors_.all().find(address);
  const bool is_known = router != neighbors_.all().end();
  const bool is_silent = is_known && router->second.requests_sent > Neighbors::kRequests;
  const bool was_silent = std::exchange(router_is_silent_, is_silent);
  const net::MacAddr mac = neighbors_.mac_of(address), former = std::exchange(router_mac_, mac);
  if (mac != former && !mac.is_zero() && !former.is_zero())
    log_.log(spdlog::level::info, {"router", "uplink"}, now, "uplink: the router {} has moved from {} to {}",
             net::to_string(address), net::to_string(former), net::to_string(mac));
  if (is_silent == was_silent || !is_known) return;
  log_.log(is_silent ? spdlog::level::warn : spdlog::level::info, {"router", "uplink"}, now,
           "uplink: the router {} {}", net::to_string(address),
           is_silent ? "does not answer ARP; its last MAC address, if there is one, is used"
                     : "answers ARP again");
}

void SlowPath::tell_who_waits() const {
  for (std::size_t i = 0; i < is_up_.size(); ++i) {
    const config::VmPort* port = gateway_.ports()[i].config;
    if (!is_up_[i] && port != nullptr && !port->vhost_user.empty())
      spdlog::info("port {} waits for a VM on {}", port->name, port->vhost_user);
  }
}

// Whoever had our addresses, or another MAC for them, learns better at once; and it may be another link.
void SlowPath::uplink_came_up(SteadyTime now) {
  const conntrack::ExternalPorts& external = gateway_.external_ports();
  for (unsigned i = 0; i < external.address_count(); ++i) {
    const net::Ipv4Addr address = external.address(static_cast<conntrack::ExternalIndex>(i));
    if (!address.is_unspecified()) own_addresses_.announce(address, now);
  }
  neighbors_.link_returned(now);
  if (uplink_) uplink_->link_up();
}

unsigned SlowPath::learn_macs(dataplane::LearnRing& ring, SteadyTime now, dhcp::WallTime wall) {
  dataplane::LearnedMac learned{};
  unsigned taken = 0;
  for (; taken < kLearnsPerPoll && ring.pop(learned); ++taken) {
    if (learned.address.is_unspecified()) {
      learn_mac(learned);
      continue;
    }
    const net::ArpFrame said = net::arp_request(learned.mac, learned.address, {});  // what it came to
    bytes_.assign(said.bytes().begin(), said.bytes().end());
    hear_arp(learned.port, now, wall);
  }
  return taken;
}

void SlowPath::learn_mac(const dataplane::LearnedMac& learned) {
  const NetworkIndex network = gateway_.ports()[learned.port].network;
  // Reported under an older state it may be somebody's by now.
  const PortIndex* owner =
      gateway_.states().current().networks[network].mac_owners.find(learned.mac.as_word());
  if (owner != nullptr && *owner != learned.port) return;
  note_change(macs_.learn(network, learned.mac, learned.port), stale_[network].macs);
}

void SlowPath::follow_leases() {
  for (const DhcpService::News& news : dhcp_.take_news()) {
    if (news.is_whole)
      ownership_.replace(news.network, news.leases);
    else
      for (const dhcp::Lease& lease : news.leases) ownership_.note(news.network, lease);
  }
  note_change(ownership_.take_changed(), owners_changed_);
}

// What the uplink lives on first, all of it; then of each worker in turn, so that none waits for all of
// another's.
unsigned SlowPath::take_punts(SteadyTime now, dhcp::WallTime wall) {
  unsigned taken = 0;
  for (ControlRings& rings : gateway_.rings())
    while (const unsigned count = take_burst(rings.uplink_punt, now, wall)) taken += count;
  for (unsigned before = taken + 1; before != taken && taken < kPuntsPerPoll;) {
    before = taken;
    for (ControlRings& rings : gateway_.rings()) taken += take_burst(rings.punt, now, wall);
  }
  return taken;
}

unsigned SlowPath::take_burst(dataplane::FrameRing& ring, SteadyTime now, dhcp::WallTime wall) {
  rte_mbuf* frames[32];
  const unsigned count = ring.pop(frames, std::size(frames));
  for (unsigned i = 0; i < count; ++i) settle(frames[i], now, wall);
  rte_pktmbuf_free_bulk(frames, count);
  return count;
}

void SlowPath::settle(rte_mbuf* frame, SteadyTime now, dhcp::WallTime wall) {
  const dataplane::FrameNote note = dataplane::note_of(frame);
  copy_out(frame, bytes_);
  switch (note.punt) {
    case PuntReason::Dhcp:
      return dhcp_.receive(bytes_, note.port, wall, now);
    case PuntReason::UplinkDhcp:
      if (uplink_) uplink_->receive(bytes_);
      return;
    case PuntReason::ArpReply:
      return hear_arp(note.port, now, wall);
    case PuntReason::NeighborUnresolved:
      return wait_for_next_hop(note.port, now);
    case PuntReason::HostUnresolved:
      return resolve_host(note.host, note.port, now);
    case PuntReason::kCount:
      break;
  }
}

// The frame in hand.
void SlowPath::hear_arp(PortIndex port, SteadyTime now, dhcp::WallTime wall) {
  port == kUplinkPort ? hear_uplink_arp(now) : hear_inside_arp(port, now, wall);
}

void SlowPath::hear_uplink_arp(SteadyTime now) {
  if (uplink_) uplink_->receive_arp(bytes_);
  neighbors_.receive_arp(bytes_, now);
  const auto claim = net::arp_claim_in(bytes_);
  if (!claim || claim->mac == gateway_.states().current().uplink.mac ||
      !gateway_.external_ports().index_of(claim->address))
    return;
  own_addresses_.defend(claim->address, now);
  log_.log(spdlog::level::warn, {"conflict", "uplink"}, now,
           "uplink: another station, {}, says that it has our address {}", net::to_string(claim->mac),
           net::to_string(claim->address));
}

// The switch lets no VM be the gateway (dataplane/pipeline/guard.h): it is only told of.
void SlowPath::hear_inside_arp(PortIndex port, SteadyTime now, dhcp::WallTime wall) {
  const PortPlan& plan = gateway_.ports()[port];
  const net::Ipv4Addr gateway = gateway_.states().current().networks[plan.network].gateway.address;
  const auto claim = net::arp_claim_in(bytes_);
  if (claim && claim->address == gateway) {
    ++gateway_conflicts_;
    return log_.log(spdlog::level::warn, {"conflict", plan.name}, now,
                    "port {}: {} says that it has the gateway's address {}", plan.name,
                    net::to_string(claim->mac), net::to_string(gateway));
  }
  dhcp_.receive_arp(bytes_, port, wall, now);
  inside_[plan.network].receive_arp(bytes_, now);
}

// The frame in hand waits for its next hop on the uplink's link.
void SlowPath::wait_for_next_hop(PortIndex from, SteadyTime now) {
  const auto* ip = net::view<net::Ipv4Header>(bytes_, sizeof(net::EthernetHeader));
  if (ip == nullptr) return;
  neighbors_.send_to(gateway_.states().current().uplink.next_hop(ip->destination), bytes_, from, now);
}

// The frame in hand waits for a VM that nothing but a mapping speaks of.
void SlowPath::resolve_host(net::Ipv4Addr host, PortIndex from, SteadyTime now) {
  const NetworkIndex network = gateway_.states().current().network_of(host);
  if (network != dataplane::kNoNetwork) inside_[network].send_to(host, bytes_, from, now);
}

// A frame that waited for a VM is looked up again, by the worker that has its mapping.
void SlowPath::return_to_worker(std::span<const std::byte> frame) {
  const auto* ip = net::view<net::Ipv4Header>(frame, sizeof(net::EthernetHeader));
  if (ip == nullptr) return;
  const auto* udp = net::view<net::UdpHeader>(
      frame, sizeof(net::EthernetHeader) + ip->header_length());  // or TCP: its ports
  const auto external = gateway_.external_ports().index_of(ip->destination);
  if (udp == nullptr || !external) return;
  const WorkerIndex owner = gateway_.external_ports().owner(*external, udp->destination_port);
  if (owner == kNoWorker) return;
  push(frame, {.port = kUplinkPort, .errand = dataplane::FrameNote::Errand::Inbound}, owner);
}

void SlowPath::inject(std::span<const std::byte> frame, PortIndex port) {
  push(frame, {.port = port, .from = port}, gateway_.ports()[port].owner);
}

void SlowPath::push(std::span<const std::byte> frame, dataplane::FrameNote note, WorkerIndex worker) {
  rte_mbuf* buffer = dataplane::new_frame(frame, gateway_.packet_pool());
  if (buffer != nullptr) {
    dataplane::note_of(buffer) = note;
    if (gateway_.rings()[worker].inject.push(buffer)) return;
  }
  rte_pktmbuf_free(buffer);
  ++inject_dropped_;
}

// To the port where the destination lives, else to all of the network's; to those that are up.
void SlowPath::inject_on_network(std::span<const std::byte> frame, NetworkIndex network) {
  const dataplane::ForwardingState& state = gateway_.states().current();
  const dataplane::Network& on = state.networks[network];
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  if (ethernet == nullptr) return;
  if (ethernet->ether_type() != net::EtherType::Arp) return return_to_worker(frame);
  const PortIndex* known = on.macs.find(ethernet->destination.as_word());
  for (const PortIndex port : on.ports) {
    if (!state.ports[port].up || (known != nullptr && *known != port)) continue;
    inject(frame, port);
    ++inside_requests_;
  }
}

dataplane::WordTable<dataplane::InsideHost> SlowPath::hosts_of(NetworkIndex network,
                                                               const dataplane::Network& state) const {
  std::vector<dataplane::WordTable<dataplane::InsideHost>::Entry> hosts;
  for (const auto& [address, neighbor] : inside_[network].all()) {
    const PortIndex* port = state.macs.find(neighbor.mac.as_word());
    const bool is_known = !neighbor.mac.is_zero() && port != nullptr;
    hosts.push_back({address.raw(), is_known ? dataplane::InsideHost{neighbor.mac, *port}
                                             : dataplane::InsideHost{.is_silent = neighbor.state ==
                                                                                  Neighbors::State::Silent}});
  }
  return dataplane::WordTable<dataplane::InsideHost>(hosts);
}

// Workers pass ARP replies on from networks that are asked about addresses.
void SlowPath::listen_for_checks(SteadyTime now) {
  const auto& networks = gateway_.states().current().networks;
  awaits_arp_.resize(networks.size(), false);
  for (std::size_t i = 0; i < networks.size(); ++i) {
    const bool awaits = dhcp_.checks().awaits_replies(static_cast<NetworkIndex>(i), now);
    changed_ |= awaits != awaits_arp_[i];
    awaits_arp_[i] = awaits;
  }
}

// The lease's resolvers are told to VMs of networks that have none of their own. A question of our client's
// is sent after the workers know by what they will know its answer.
void SlowPath::advance_uplink(SteadyTime now) {
  if (!uplink_) return;
  const bool has_changed = uplink_->advance(now);
  const dataplane::Uplink& uplink = gateway_.states().current().uplink;
  changed_ |= uplink.dhcp_transaction != uplink_->client().transaction() ||
              uplink.checked_address != uplink_->client().checked();
  if (!has_changed) return;
  changed_ = neighbors_changed_ = true;
  if (const auto& lease = uplink_->in_effect()) dhcp_.use_resolvers(lease->dns);
}

void SlowPath::publish() {
  dataplane::ForwardingState next = gateway_.states().current();
  if (uplink_) {
    uplink_->describe(next);
    set_forwards(plan_forwards(config_, uplink_->rented()), next);
  }
  const std::size_t worker_count = gateway_.workers().count();
  for (std::size_t i = 0; i < next.ports.size(); ++i) {
    next.ports[i].up = is_up_[i];
    next.ports[i].offloads = offloads_[i];
    next.ports[i].tx_queues = static_cast<std::uint8_t>(std::min<std::size_t>(tx_queues_[i], worker_count));
  }
  set_live(config_, next);
  if (std::exchange(owners_changed_, false)) rebuild_owners(next);
  for (std::size_t i = 0; i < next.networks.size(); ++i) rebuild_network(static_cast<NetworkIndex>(i), next);
  if (std::exchange(neighbors_changed_, false)) next.uplink.neighbors = next_hops();
  next.uplink.gateway_mac = neighbors_.mac_of(next.uplink.gateway);
  gateway_.states().publish(std::move(next));
  ++rebuilt_.states;
  changed_ = false;
}

// Who owns what has changed: MACs may move to their owners.
void SlowPath::rebuild_owners(dataplane::ForwardingState& next) {
  ownership_.settle(macs_);
  ownership_.fill(next, macs_);
  for (Stale& network : stale_) network = {.macs = true, .hosts = true};
  ++rebuilt_.owner_tables;
}

// As far as what it is made of has changed.
void SlowPath::rebuild_network(NetworkIndex index, dataplane::ForwardingState& next) {
  dataplane::Network& network = next.networks[index];
  const Stale stale = std::exchange(stale_[index], {.macs = false, .hosts = false});
  if (stale.macs) {
    network.macs = macs_.table(index);
    ownership_.follow_learning(index, next, macs_);
    ++rebuilt_.mac_tables;
  }
  if (stale.macs || stale.hosts) network.hosts = hosts_of(index, network);
  network.awaits_arp = index < awaits_arp_.size() && awaits_arp_[index];
}

dataplane::WordTable<dataplane::NextHop> SlowPath::next_hops() const {
  std::vector<dataplane::WordTable<dataplane::NextHop>::Entry> hops;
  for (const auto& [address, neighbor] : neighbors_.all())
    hops.push_back({address.raw(), {neighbor.mac, neighbor.state == Neighbors::State::Silent}});
  return dataplane::WordTable<dataplane::NextHop>(hops);
}

}  // namespace vmnat::control
