// SPDX-License-Identifier: Apache-2.0
// Checking single frames, and finding the device under test.
#include "bench/generator/tester.h"

#include <algorithm>
#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdexcept>

namespace vmnat::bench {
namespace {

constexpr double kLinkDeadline = 20;  // seconds
constexpr double kResolveDeadline = 20;
constexpr double kRequestInterval = 0.01;
constexpr double kQuietTime = 0.01;  // no frame for so long: all have arrived

std::uint64_t ticks_of(double seconds) {
  return static_cast<std::uint64_t>(seconds * static_cast<double>(rte_get_tsc_hz()));
}

}  // namespace

bool poll_until(double deadline_s, const std::function<bool()>& step) {
  const std::uint64_t end = rte_rdtsc() + ticks_of(deadline_s);
  while (!step())
    if (rte_rdtsc() > end) return false;
  return true;
}

const char* text_of(Direction direction) {
  return direction == Direction::Outbound ? "outbound" : "inbound";
}

Tester::Tester(const Options& options, Progress& progress)
    : options_(options), progress_(progress), plan_(options.flow_space) {
  if (options.flows.back() > plan_.most_flows())
    throw std::invalid_argument("--remotes holds fewer endpoints than --flows");
  const unsigned queue_size = options.virtio.queue_size;
  for (unsigned number = 0; number < options.vm_ports(); ++number) {
    const auto plays = [this, number](net::Ipv4Addr address) { return plan_.lives_at(address, number); };
    vms_.push_back(std::make_unique<Station>(vm_device_name(options, number), queue_size, plays,
                                             options.flow_space.network.address));
    if (options.burst) vms_.back()->port.limit_burst(*options.burst, options.virtio);
  }
  const auto plays = [router = options.router](net::Ipv4Addr address) { return address == router; };
  uplink_.push_back(
      std::make_unique<Station>(uplink_device_name(options), queue_size, plays, options.uplink_address));
}

void Tester::find_device() {
  const auto has_links = [](const Stations& side) {
    return std::all_of(side.begin(), side.end(), [](const auto& station) { return station->port.is_up(); });
  };
  if (!poll_until(kLinkDeadline, [&] { return has_links(vms_) && has_links(uplink_); }))
    throw std::runtime_error("the link to the device under test does not come up");
  if (options_.mode != Mode::Nat) return;

  std::uint64_t next_request = 0;
  const bool is_found = poll_until(kResolveDeadline, [&] {
    if (rte_rdtsc() > next_request) {
      next_request = rte_rdtsc() + ticks_of(kRequestInterval);
      ask_for_device();
    }
    receive_and_check();
    return unanswered() == nullptr;
  });
  if (!is_found)
    throw std::runtime_error("the device under test does not answer ARP for " +
                             to_string(unanswered()->neighbors.peer()));
}

// Each VM port asks as its first host.
void Tester::ask_for_device() {
  const auto ask = [](Station& station, net::Ipv4Addr own) {
    station.port.send(net::arp_request(station.port.mac(), own, station.neighbors.peer()).bytes());
  };
  for (unsigned number = 0; number < vms_.size(); ++number) ask(*vms_[number], plan_.host(number));
  for (const auto& station : uplink_) ask(*station, options_.router);
}

const Station* Tester::unanswered() const {
  for (const Stations* side : {&vms_, &uplink_})
    for (const auto& station : *side)
      if (!station->neighbors.peer_mac()) return station.get();
  return nullptr;
}

unsigned Tester::receive_and_check() {
  unsigned total = 0;
  const auto receive_at = [&](Direction direction, Station& station) {
    rte_mbuf* frames[kBurst];
    const std::uint16_t count = rte_eth_rx_burst(station.port.id(), 0, frames, kBurst);
    for (std::uint16_t i = 0; i < count; ++i) check(direction, station, bytes_of(frames[i]));
    rte_pktmbuf_free_bulk(frames, count);
    total += count;
  };
  for (const Direction direction : {Direction::Outbound, Direction::Inbound})
    for (const auto& station : receivers(direction)) receive_at(direction, *station);
  return total;
}

void Tester::drain() {
  std::uint64_t quiet_since = rte_rdtsc();
  while (rte_rdtsc() - quiet_since < ticks_of(kQuietTime))
    if (receive_and_check() > 0) quiet_since = rte_rdtsc();
}

void Tester::check(Direction direction, Station& station, std::span<const std::byte> frame) {
  const auto* ethernet = net::view<net::EthernetHeader>(frame);
  if (ethernet != nullptr && ethernet->ether_type() == net::EtherType::Arp) {
    const auto reply = station.neighbors.answer(frame);
    if (reply) station.port.send(reply->bytes());
    if (watcher_) watcher_(direction, frame);
    return;
  }
  const ReceivedFrame received = read_frame(frame);
  Fault fault = received.fault;
  if (fault == Fault::None && received.flow >= flows_.size()) fault = Fault::Foreign;
  if (fault == Fault::None)
    fault = direction == Direction::Outbound ? fault_of_outbound(received) : fault_of_inbound(received);
  if (fault == Fault::None && &station != &destination(direction, received.flow)) fault = Fault::VmPort;
  if (fault == Fault::Foreign && watcher_) watcher_(direction, frame);
  ++faults_[static_cast<std::size_t>(fault)];
}

bool Tester::is_external(net::Ipv4Addr address) const {
  return address >= options_.external_first && address <= options_.external_last;
}

Fault Tester::fault_of_outbound(const ReceivedFrame& frame) {
  if (frame.tuple.destination != plan_.remote(frame.flow)) return Fault::RemoteEndpoint;
  if (options_.mode != Mode::Nat)
    return frame.tuple.source == plan_.internal(frame.flow) ? Fault::None : Fault::InternalEndpoint;
  if (!is_external(frame.tuple.source.address)) return Fault::ExternalAddress;
  if (frame.tuple.source.port.host() < 1024) return Fault::ExternalPort;
  if (frame.ttl != kSentTtl - 1) return Fault::Ttl;
  return flows_.record_external(frame.flow, frame.tuple.source) ? Fault::None : Fault::Mapping;
}

Fault Tester::fault_of_inbound(const ReceivedFrame& frame) {
  if (frame.tuple.source != plan_.remote(frame.flow)) return Fault::RemoteEndpoint;
  if (frame.tuple.destination != plan_.internal(frame.flow)) return Fault::InternalEndpoint;
  if (options_.mode == Mode::Nat && frame.ttl != kSentTtl - 1) return Fault::Ttl;
  flows_.record_return(frame.flow);
  return Fault::None;
}

void Tester::check_segment(Direction direction, const Station& station, std::span<const std::byte> frame) {
  const auto segment = read_segment(frame);
  Fault fault = segment ? checksum_fault_of(frame) : Fault::Foreign;
  if (fault == Fault::None) fault = fault_of_segment(direction, *segment);
  if (fault == Fault::None && &station != &destination(direction, segment->flow())) fault = Fault::VmPort;
  ++faults_[static_cast<std::size_t>(fault)];
}

Fault Tester::fault_of_segment(Direction direction, const TcpSegment& segment) const {
  const FlowNumber flow = segment.flow();
  const bool is_outbound = direction == Direction::Outbound;
  const auto [near, far] =
      is_outbound ? segment.tuple : Tuple{segment.tuple.destination, segment.tuple.source};
  if (flow >= flows_.size()) return Fault::Foreign;
  if (far != plan_.remote(flow)) return Fault::RemoteEndpoint;
  if (options_.mode != Mode::Nat || !is_outbound)
    return near == plan_.internal(flow) ? Fault::None : Fault::InternalEndpoint;
  if (!is_external(near.address)) return Fault::ExternalAddress;
  return near.port.host() < 1024 ? Fault::ExternalPort : Fault::None;
}

bool AddressRange::holds(const std::byte* frame) const {
  net::Be16 type;
  net::Be32 address;
  std::memcpy(&type, frame + offsetof(net::EthernetHeader, type), sizeof type);
  std::memcpy(&address, frame + offset, sizeof address);
  return type.host() == static_cast<std::uint16_t>(net::EtherType::Ipv4) &&
         address.host() - first <= last - first;
}

AddressRange Tester::expected_addresses(Direction direction) const {
  constexpr std::size_t kAddresses = net::kIpOffset;
  if (direction == Direction::Outbound && options_.mode == Mode::Nat)
    return {kAddresses + offsetof(net::Ipv4Header, source), options_.external_first.host(),
            options_.external_last.host()};
  const net::Ipv4Prefix& network = options_.flow_space.network;
  const std::size_t field = direction == Direction::Outbound ? offsetof(net::Ipv4Header, source)
                                                             : offsetof(net::Ipv4Header, destination);
  return {kAddresses + field, network.first().host(), network.broadcast().host()};
}

Tuple Tester::tuple_of(Direction direction, FlowNumber flow) const {
  if (direction == Direction::Outbound) return plan_.outbound(flow);
  const bool is_translated = options_.mode == Mode::Nat;
  return {plan_.remote(flow), is_translated ? flows_.external(flow) : plan_.internal(flow)};
}

net::MacAddr Tester::next_hop(const Station& station) const {
  const bool is_uplink = &station == uplink_.front().get();
  const Station& far = is_uplink ? *vms_.front() : *uplink_.front();
  return station.neighbors.peer_mac().value_or(far.port.mac());
}

FrameTemplate Tester::frame_template(const Station& station, std::size_t wire_size) const {
  return {wire_size, station.port.mac(), next_hop(station)};
}

void Tester::prepare_load_pools(Direction direction, std::size_t wire_size) {
  for (const auto& station : senders(direction))
    station->port.prepare_load_pool(frame_template(*station, wire_size));
}

}  // namespace vmnat::bench
