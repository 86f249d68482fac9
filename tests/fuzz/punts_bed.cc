// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/punts_bed.h"

#include <algorithm>
#include <cstring>

#include "net/wire.h"
#include "tests/dhcp/request_frame.h"
#include "tests/fuzz/driver.h"

namespace vmnat::fuzz {
namespace {

using control::Neighbors;
using dataplane::kUplinkPort;
using dhcp::LeaseState;
using dhcp::test::ip;
using dhcp::test::mac;
using dhcp::test::mac_number;

constexpr std::size_t kLongestFrame = 1514;
constexpr std::size_t kSerialAt = net::kIpOffset;
const net::MacAddr kUplinkMac = mac("52:54:00:ff:00:01");

void expect(bool holds, const char* what) {
  if (!holds) fault(what);
}

}  // namespace

// No directory can be made there: leases stay in memory, and no input finds those of another.
config::Config PuntsBed::configuration(std::uint8_t setup) {
  config::Config config;
  config.control.state_dir = "/dev/null/none";
  config.uplink.address = net::Ipv4Prefix{ip("203.0.113.2"), 24};
  config.uplink.gateway = ip("203.0.113.1");
  config::Dhcp few{.ranges = {{ip("192.168.122.2"), ip("192.168.122.9")}}};
  few.reservations = {{.mac = mac_number(9), .port = {}, .address = ip("192.168.122.8"), .hostname = "nine"}};
  config::Dhcp many{.ranges = {{ip("10.7.0.2"), ip("10.7.3.255")}}};
  config.networks = {
      {.name = "default",
       .address = {ip("192.168.122.1"), 24},
       .ports = {{.name = "vm1", .vhost_user = "/1"},
                 {.name = "vm2", .vhost_user = "/2"},
                 {.name = "vm3", .vhost_user = "/3", .guard = config::PortGuard::Off},
                 {.name = "vm4", .vhost_user = "/4", .mac = mac_number(4)}},
       .dhcp = few},
      {.name = "lab",
       .address = {ip("10.7.0.1"), 16},
       .ports = {{.name = "vm5", .vhost_user = "/5"},
                 {.name = "vm6", .vhost_user = "/6", .address = ip("10.7.0.6")},
                 {.name = "rack", .device = "veth0", .guard = config::PortGuard::Off, .relay = true}},
       .dhcp = many}};
  apply(config, setup);
  return config;
}

void PuntsBed::apply(config::Config& config, std::uint8_t setup) {
  static constexpr config::Identity kIdentities[] = {config::Identity::Mac, config::Identity::ClientId,
                                                     config::Identity::Port, config::Identity::Mac};
  for (config::Network& network : config.networks) {
    network.dhcp->check_before_offer = (setup & 1) != 0;
    network.dhcp->identity = kIdentities[setup >> 1 & 3];
    setup = static_cast<std::uint8_t>(setup >> 3);
  }
  config.networks[0].dhcp->ranges[0].last = ip((setup & 1) != 0 ? "192.168.122.5" : "192.168.122.9");
  config.networks[0].dhcp->lease_time = std::chrono::seconds{(setup & 2) != 0 ? 200 : 3600};
}

PuntsBed::PuntsBed(std::uint8_t setup)
    : config_(configuration(setup)),
      ports_(control::plan_ports(config_, 1)),
      places_(ports_),
      state_(control::initial_state(config_, ports_)),
      wall_(dhcp::test::at_second(0)),
      now_(std::chrono::hours(1)),
      dhcp_(config_, ports_, places_, wall_, now_),
      neighbors_(kUplinkMac, config_.uplink.address->address),
      ownership_(ports_, places_, state_) {
  expect(ports_.size() == kPorts, "the bed's ports are miscounted");
  for (const dataplane::Network& network : state_.networks)
    inside_.emplace_back(network.mac, network.gateway.address);
  inside_[0].keep_resolved(ip("192.168.122.200"), now_);
  follow_leases(dhcp_.commit().news);
  publish();
  neighbors_.keep_resolved(*config_.uplink.gateway, now_);
}

void PuntsBed::dhcp(std::span<const FrameBytes> burst, PortIndex port) {
  for (const FrameBytes& frame : burst) {
    const auto parsed = dhcp::parse_frame(frame);
    if (const auto* datagram = std::get_if<dhcp::Datagram>(&parsed))
      if (const auto* header = net::view<dhcp::MessageHeader>(datagram->payload))
        asked_[port].insert(header->xid.host());
    dhcp_.receive(frame, port, wall_, now_);
  }
  check_service(time_passed_);
}

void PuntsBed::arp_reply(std::span<const std::byte> frame, PortIndex port) {
  if (port == kUplinkPort) return neighbors_.receive_arp(frame, now_);
  dhcp_.receive_arp(frame, port, wall_, now_);
  inside_[ports_[port].network].receive_arp(frame, now_);
  check_service(time_passed_);
}

void PuntsBed::neighbor_unresolved(net::Ipv4Addr next_hop, FrameBytes frame, PortIndex port) {
  stamp(frame, ledgers_[0]);
  neighbors_.send_to(next_hop, std::move(frame), port, now_);
}

void PuntsBed::host_unresolved(NetworkIndex network, net::Ipv4Addr host, FrameBytes frame, PortIndex port) {
  stamp(frame, ledgers_[1u + network]);
  inside_[network].send_to(host, std::move(frame), port, now_);
}

// Tells the frames apart, where nobody looks.
void PuntsBed::stamp(FrameBytes& frame, Ledger& ledger) {
  frame.resize(std::max(frame.size(), kSerialAt + sizeof(net::Ipv4Header)));
  const auto type = net::Be16::from_host(static_cast<std::uint16_t>(net::EtherType::Ipv4));
  std::memcpy(frame.data() + offsetof(net::EthernetHeader, type), &type, sizeof type);
  std::memcpy(frame.data() + kSerialAt, &++serial_, sizeof serial_);
  ledger.given[serial_] = frame;
  ++ledger.in;
}

void PuntsBed::learned(net::MacAddr mac, PortIndex port) {
  const NetworkIndex network = ports_[port].network;
  const PortIndex* owner = state_.networks[network].mac_owners.find(mac.as_word());
  if (owner == nullptr || *owner == port) macs_.learn(network, mac, port);
}

void PuntsBed::link(PortIndex port, bool is_up) {
  if (state_.ports[port].up == is_up) return;
  state_.ports[port].up = is_up;
  if (!is_up) macs_.forget_port(port);
  if (is_up && port == kUplinkPort) neighbors_.link_returned(now_);
}

void PuntsBed::pass(std::chrono::milliseconds time, std::chrono::seconds wall_set_by) {
  now_ += time;
  wall_ += time + wall_set_by;
  time_passed_ = true;
}

void PuntsBed::release(net::Ipv4Addr address) {
  static_cast<void>(dhcp_.release(address));
  check_service(time_passed_);
}

void PuntsBed::reconfigure(std::uint8_t setup) {
  apply(setup);
  dhcp_.reconfigure();
  check_service(true);
  tell();
}

void PuntsBed::start_over() {
  neighbors_.start_over(config_.uplink.address->address);
  neighbors_.keep_resolved(*config_.uplink.gateway, now_);
}

void PuntsBed::poll() {
  dhcp_.advance(wall_, now_);
  check_service(true);
  time_passed_ = false;
  neighbors_.advance(now_);
  for (Neighbors& network : inside_) network.advance(now_);
}

void PuntsBed::tell() {
  const auto committed = dhcp_.commit();
  follow_leases(committed.news);
  publish();
  for (const auto& reply : committed.replies) check_reply(reply);
  check_output(neighbors_, ledgers_[0], kUplinkMac);
  questions_ = dhcp_.checks().take_questions();
  for (const auto& [network, address] : questions_)
    expect(network < kNetworks && state_.networks[network].gateway.contains(address),
           "a network is asked about an address of another");
  for (std::size_t i = 0; i < inside_.size(); ++i)
    check_output(inside_[i], ledgers_[1 + i], state_.networks[i].mac);
}

void PuntsBed::follow_leases(std::span<const control::DhcpService::News> news) {
  for (const auto& [network, is_whole, leases] : news) {
    if (is_whole) {
      const auto next_network = static_cast<NetworkIndex>(network + 1);
      bound_.erase(bound_.lower_bound({network, {}}), bound_.lower_bound({next_network, {}}));
      ownership_.replace(network, leases);
    } else {
      for (const dhcp::Lease& lease : leases) ownership_.note(network, lease);
    }
    for (const dhcp::Lease& lease : leases) note(network, lease);
  }
}

// The model: what is bound stays its port's until it is told to have ended.
void PuntsBed::note(NetworkIndex network, const dhcp::Lease& lease) {
  const std::pair key{network, lease.address};
  if (lease.state != LeaseState::Bound) {
    bound_.erase(key);
    return;
  }
  if (lease.port.empty()) return;
  const auto [held, is_new] = bound_.try_emplace(key, Holder{lease.port, lease.mac});
  expect(is_new || held->second.port == lease.port, "an address is bound through a second port");
  held->second.mac = lease.mac;
}

void PuntsBed::publish() {
  if (ownership_.take_changed()) ownership_.bring_macs_home(macs_);
  ownership_.fill(state_, macs_);
  for (std::size_t i = 0; i < state_.networks.size(); ++i)
    state_.networks[i].macs = macs_.table(static_cast<NetworkIndex>(i));
  check_owners();
  check_macs();
}

net::Ipv4Addr PuntsBed::told(net::MacAddr client) const {
  const auto known = told_.find(client);
  return known == told_.end() ? net::Ipv4Addr{} : known->second;
}

PuntsBed::Holders PuntsBed::holders() const {
  Holders all;
  NetworkIndex network = 0;
  for (const auto& [name, leases] : dhcp_.leases()) {
    for (const dhcp::Lease& lease : leases)
      if ((lease.state == LeaseState::Offered || lease.state == LeaseState::Bound) && !lease.port.empty())
        all[{network, lease.address}] = {lease.port, lease.mac};
    ++network;
  }
  return all;
}

// After each event: what is offered or bound through one port does not come to another's by a frame, and a
// station has a lease or an offer at one port alone.
void PuntsBed::check_service(bool time_has_passed) {
  if (const std::string broken = dhcp_.check_invariants(); !broken.empty()) fault(broken);
  expect(dhcp_.checks().running() <= control::OfferChecks::kAtOnce, "too many checks run");
  Holders after = holders();
  std::map<std::pair<NetworkIndex, net::MacAddr>, std::string> port_of;
  for (const auto& [at, holder] : after) {
    const auto [station, is_new] = port_of.try_emplace({at.first, holder.mac}, holder.port);
    expect(is_new || station->second == holder.port, "a MAC holds addresses through two ports");
    const auto known = before_.find(at);
    const bool is_anothers = known != before_.end() && known->second.port != holder.port;
    expect(time_has_passed || !is_anothers, "an address went from one port to another");
  }
  before_ = std::move(after);
}

void PuntsBed::check_reply(const control::DhcpService::Reply& reply) {
  expect(reply.port != kUplinkPort && reply.port < kPorts, "a reply leaves by no VM's port");
  expect(reply.frame.size() <= kLongestFrame, "a reply is too long");
  const auto parsed = dhcp::parse_frame(reply.frame);
  const auto* datagram = std::get_if<dhcp::Datagram>(&parsed);
  expect(datagram != nullptr, "a reply is malformed");
  expect(datagram->source_mac == gateway_mac(reply.port), "a reply has another's MAC");
  expect(datagram->source == (net::Endpoint{gateway(reply.port).address, dhcp::kServerPort}),
         "a reply has another's address");
  const auto message = dhcp::parse_message(datagram->payload);
  expect(message && message->type() && message->header.op == dhcp::Op::Reply, "a reply is no DHCP message");
  expect(asked_[reply.port].contains(message->header.xid.host()),
         "a reply leaves by another port than its request came by");
  const net::Ipv4Addr address = message->header.yiaddr;
  if (address.is_unspecified()) return;
  expect(gateway(reply.port).contains(address) && address != gateway(reply.port).address,
         "an address is not of its network");
  told_[message->header.chaddr] = address;
}

void PuntsBed::check_output(Neighbors& neighbors, Ledger& ledger, net::MacAddr own_mac) {
  for (const FrameBytes& frame : neighbors.take_output()) check_sent(frame, ledger, own_mac);
  for (const auto& [frame, port] : neighbors.take_unreachable()) {
    std::uint32_t serial = 0;
    std::memcpy(&serial, frame.data() + kSerialAt, sizeof serial);
    const auto given = ledger.given.find(serial);
    expect(given != ledger.given.end() && given->second == frame, "a frame comes back that nobody gave");
    ledger.given.erase(given);
  }
  check_bounds(neighbors, ledger);
}

void PuntsBed::check_sent(const FrameBytes& frame, Ledger& ledger, net::MacAddr own_mac) {
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  expect(ethernet != nullptr && frame.size() <= kLongestFrame, "what is sent is no frame");
  expect(ethernet->source == own_mac && !ethernet->destination.is_zero(), "a frame with another's MAC");
  if (ethernet->ether_type() == net::EtherType::Arp) {
    const auto* arp = net::view<net::ArpPacket>(frame, sizeof *ethernet);
    expect(frame.size() == 60 && arp != nullptr && arp->is_ethernet_ipv4() &&
               arp->op() == net::ArpOperation::Request && arp->sender_mac == own_mac,
           "a malformed ARP request");
    return;
  }
  std::uint32_t serial = 0;
  expect(frame.size() >= kSerialAt + sizeof serial, "a frame that nobody gave");
  std::memcpy(&serial, frame.data() + kSerialAt, sizeof serial);
  const auto given = ledger.given.find(serial);
  expect(given != ledger.given.end(), "a frame that nobody gave, or once more");
  constexpr std::size_t kMacs = 2 * sizeof(net::MacAddr);
  expect(std::ranges::equal(std::span(frame).subspan(kMacs), std::span(given->second).subspan(kMacs)),
         "a frame that waited is not what it was");
  ledger.given.erase(given);
  ++ledger.out;
}

void PuntsBed::check_bounds(const Neighbors& neighbors, const Ledger& ledger) {
  expect(neighbors.all().size() <= Neighbors::kMaxNeighbors, "too many neighbours");
  std::map<PortIndex, std::size_t> unanswered;
  std::size_t waiting = 0;
  for (const auto& [address, neighbor] : neighbors.all()) {
    const bool is_asked = neighbor.state == Neighbors::State::Incomplete;
    if (is_asked && !neighbor.is_permanent)
      expect(++unanswered[neighbor.port] <= Neighbors::kUnansweredPerPort, "too many unanswered of a port");
    if (!is_asked) continue;
    const std::size_t of_this = neighbors.waiting_for(address);
    expect(of_this <= Neighbors::kWaitingPerNeighbor, "too many frames wait for a neighbour");
    waiting += of_this;
  }
  expect(waiting <= Neighbors::kWaitingInAll, "too many frames wait");
  expect(ledger.in == ledger.out + neighbors.counts().waiting_dropped + waiting,
         "a frame is neither sent, nor dropped, nor waits");
}

void PuntsBed::check_macs() const {
  for (PortIndex port = 1; port < kPorts; ++port) {
    const auto learned = macs_.of_port(port);
    expect(learned.size() <= control::MacLearning::kMaxPerPort, "too many MACs of a port");
    for (const net::MacAddr mac : learned) {
      const PortIndex* known = state_.networks[ports_[port].network].macs.find(mac.as_word());
      expect(known != nullptr && *known == port, "a MAC is learned at two ports");
    }
  }
}

void PuntsBed::check_owners() const {
  for (NetworkIndex network = 0; network < kNetworks; ++network)
    for (std::uint32_t i = 0; i < 16; ++i)
      check_owner(network,
                  net::Ipv4Addr::from_host((config_.networks[network].address.address.host() & ~0xffu) + i));
  for (const auto& [at, holder] : bound_) {
    check_owner(at.first, at.second);
    const PortIndex* owner = state_.networks[at.first].mac_owners.find(holder.mac.as_word());
    expect(owner != nullptr && ports_[*owner].name == holder.port, "a leased MAC is owned by another port");
  }
}

// The gateway first, then the configuration, then the leases.
void PuntsBed::check_owner(NetworkIndex network, net::Ipv4Addr address) const {
  std::optional<std::string> expected;
  if (const auto held = bound_.find({network, address}); held != bound_.end()) expected = held->second.port;
  for (const config::VmPort& port : config_.networks[network].ports)
    if (port.address == address) expected = port.name;
  if (address == config_.networks[network].address.address) expected = ports_[kUplinkPort].name;
  const PortIndex* owner = state_.networks[network].address_owners.find(address.raw());
  expect(expected.has_value() == (owner != nullptr), "an address has an owner, and should not, or has none");
  expect(owner == nullptr || ports_[*owner].name == *expected, "an address is owned by another port");
}

}  // namespace vmnat::fuzz
