// SPDX-License-Identifier: Apache-2.0
#include "tests/support/testbed.h"

#include <cstring>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdexcept>
#include <utility>

namespace vmnat::test {
namespace {

using namespace dataplane;

constexpr unsigned kRingSize = 4096;
constexpr const char* kPortNames[kPortCount] = {"uplink", "vm1", "vm2", "vm3", "vm4", "vm5"};

rte_ring* make_ring(const std::string& name, unsigned element = sizeof(void*)) {
  rte_ring* ring = rte_ring_create_elem(name.c_str(), element, kRingSize, SOCKET_ID_ANY, 0);
  if (ring == nullptr) throw std::runtime_error("ring " + name + ": " + rte_strerror(rte_errno));
  return ring;
}

Bytes bytes_of(rte_mbuf* frame) {
  Bytes bytes(frame->pkt_len);
  const void* start = rte_pktmbuf_read(frame, 0, frame->pkt_len, bytes.data());
  if (start != bytes.data()) std::memcpy(bytes.data(), start, bytes.size());
  rte_pktmbuf_free(frame);
  return bytes;
}

void start_eal() {
  static bool is_started = false;
  if (std::exchange(is_started, true)) return;
  const char* argv[] = {"test",           "--no-huge",         "-m256",           "--no-pci", "--no-shconf",
                        "--no-telemetry", "--log-level=error", "--lcores=0@(0-1)"};
  std::vector<char*> arguments;
  for (const char* argument : argv) arguments.push_back(const_cast<char*>(argument));
  if (rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) < 0)
    throw std::runtime_error(std::string("EAL: ") + rte_strerror(rte_errno));
}

std::vector<Bytes> drained(FrameRing ring) {
  std::vector<Bytes> frames;
  rte_mbuf* frame = nullptr;
  while (ring.pop(&frame, 1) == 1) frames.push_back(bytes_of(frame));
  return frames;
}

}  // namespace

rte_mempool* packet_pool() {
  static rte_mempool* pool = make_packet_pool("test", 8191);
  return pool;
}

rte_mempool* make_packet_pool(const std::string& name, unsigned buffers) {
  start_eal();
  rte_mempool* pool = rte_pktmbuf_pool_create(name.c_str(), buffers, 0, kPrivateSize,
                                              2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
  if (pool == nullptr) throw std::runtime_error("pool " + name + ": " + rte_strerror(rte_errno));
  return pool;
}

rte_mbuf* buffer_of(const Bytes& frame, std::size_t of_each_buffer, rte_mempool* pool) {
  rte_mbuf* head = nullptr;
  for (std::size_t at = 0; at == 0 || at < frame.size();) {
    rte_mbuf* segment = rte_pktmbuf_alloc(pool);
    if (segment == nullptr) throw std::runtime_error("no buffer");
    const std::size_t size = std::min(frame.size() - at, of_each_buffer);
    char* room = rte_pktmbuf_append(segment, static_cast<std::uint16_t>(size));
    if (size != 0) std::memcpy(room, frame.data() + at, size);
    if (head == nullptr)
      head = segment;
    else
      rte_pktmbuf_chain(head, segment);
    at += size;
    if (size == 0) break;
  }
  return head;
}

// An Ethernet device whose receive and transmit queues are rings in the test's hands.
struct Testbed::Wire {
  std::vector<rte_ring*> in;   // by queue
  std::vector<rte_ring*> out;  // by queue
  std::uint16_t port_id;

  Wire(const std::string& name, unsigned queues, rte_mempool* pool) {
    for (unsigned queue = 0; queue < queues; ++queue) {
      in.push_back(make_ring(name + "i" + std::to_string(queue)));
      out.push_back(make_ring(name + "o" + std::to_string(queue)));
    }
    const int port = rte_eth_from_rings(name.c_str(), in.data(), queues, out.data(), queues, 0);
    if (port < 0) throw std::runtime_error("device " + name);
    port_id = static_cast<std::uint16_t>(port);
    const auto count = static_cast<std::uint16_t>(queues);
    rte_eth_conf conf{};
    rte_eth_dev_configure(port_id, count, count, &conf);
    for (std::uint16_t queue = 0; queue < count; ++queue) {
      rte_eth_rx_queue_setup(port_id, queue, 64, 0, nullptr, pool);
      rte_eth_tx_queue_setup(port_id, queue, 64, 0, nullptr);
    }
    if (rte_eth_dev_start(port_id) != 0) throw std::runtime_error("start " + name);
  }
  ~Wire() {
    rte_eth_dev_stop(port_id);
    rte_eth_dev_close(port_id);
    for (rte_ring* ring : in) rte_ring_free(ring);
    for (rte_ring* ring : out) rte_ring_free(ring);
  }
};

Testbed::Testbed(const Shape& shape) {
  static unsigned count = 0;
  number_ = count++;
  pool_ = shape.pool != nullptr ? shape.pool : packet_pool();
  wires_.resize(kPortCount);
  for (unsigned i = 0; i < kPortCount; ++i)
    if (shape.guests[i] == nullptr && (i == kUplink || !shape.is_trunk))
      wires_[i] = std::make_unique<Wire>("w" + std::to_string(number_) + "_" + std::to_string(i),
                                         i == kUplink ? shape.uplink_queues : 1, pool_);
  if (shape.is_trunk) {
    trunk_ = std::make_unique<Trunk>(wires_[kUplink]->port_id);
    for (const std::uint16_t vlan : shape.vlans) trunk_->join(vlan);
  }
  conntrack::NatPolicy complete = shape.policy;
  complete.addresses = addresses_;
  conntrack::NatPolicies policies(3, complete);
  std::vector<conntrack::ExternalAddress> external{
      {.address = shape.uplink.address, .reserved = {8080, 5353, 9090}}};  // as if forwarded
  if (shape.uplinks > 1) {
    external.push_back({.address = net::parse_ipv4(kSecondExternal).value(), .reserved = {}});
    policies[1].addresses = {1};
  }
  policies_ = std::make_shared<const conntrack::NatPolicies>(std::move(policies));
  external_ = conntrack::ExternalAddresses::of(external);
  external_ports_ = conntrack::ExternalPorts::create(8, shape.workers, shape.homes);
  make_state(shape);
  make_rings(shape.workers);
  make_workers(shape);
}

Testbed::~Testbed() {
  for (unsigned port = 0; port < kPortCount; ++port)
    if (wires_[port]) take(static_cast<PortIndex>(port));
  take_punted();
  workers_.clear();
  trunk_.reset();
  wires_.clear();
  for (rte_ring* ring : rings_) rte_ring_free(ring);
}

void Testbed::make_state(const Shape& shape) {
  const auto prefix = [](const char* text) { return net::parse_ipv4_prefix(text).value(); };
  auto state = std::make_unique<ForwardingState>();
  state->generation = 1;
  state->external_addresses = external_;
  state->policies = policies_;
  state->uplinks[0] = {
      .address = shape.uplink, .gateway = shape.router, .mac = kUplinkMac, .gateway_mac = kRouterMac};
  state->networks = {
      {.gateway = prefix("192.168.122.1/24"), .mac = kRedMac, .dhcp = true, .ports = {kVm1, kVm2, kVm3}},
      {.gateway = prefix("192.168.5.1/24"), .mac = kBlueMac, .ports = {kVm4}},
      {.gateway = prefix("10.9.0.1/24"), .mac = kIslandMac, .has_way_out = false, .ports = {kVm5}}};
  const NetworkIndex network_of_port[kPortCount] = {kNoNetwork, 0, 0, 0, 1, 2};
  for (unsigned i = 0; i < kPortCount; ++i)
    state->ports.push_back({.network = network_of_port[i],
                            .owner = static_cast<WorkerIndex>(i % shape.workers),
                            .up = true,
                            .device = device_at(i, shape)});
  if (shape.uplinks > 1) add_uplink(*state);
  state->ports[kUplink].is_spread = shape.uplink_queues > 1;
  state->ports[kUplink].tx_queues = static_cast<std::uint8_t>(shape.uplink_queues);
  for (unsigned worker = 0; worker < shape.workers; ++worker)
    state->polled.push_back(
        std::make_shared<PollSet>(queues_of(worker, shape.workers, *state),
                                  Sharers{.ports = kPortCount, .guests = 1, .uplinks = shape.uplinks}));
  published_ = state.get();
  states_.push_back(std::move(state));
}

BurstPort Testbed::device_at(unsigned port, const Shape& shape) const {
  const std::uint16_t vlan = shape.vlans[port];
  if (trunk_ != nullptr) return {.port_id = wires_[kUplink]->port_id, .vlan = vlan, .trunk = trunk_.get()};
  if (wires_[port] != nullptr) return {.port_id = wires_[port]->port_id, .vlan = vlan};
  return {.vlan = vlan, .vhost = shape.guests[port]};
}

void Testbed::add_uplink(ForwardingState& state) {
  state.uplink_count = 2;
  state.uplinks.push_back({.address = net::parse_ipv4_prefix("192.0.2.2/24").value(),
                           .gateway = net::parse_ipv4("192.0.2.1").value(),
                           .mac = kSecondUplinkMac,
                           .gateway_mac = kSecondRouterMac});
  state.uplinks_of_external = {1 << kUplink, 1 << kSecondUplink};
  state.ports[kSecondUplink].network = kNoNetwork;
  state.networks[0].ports = {kVm2, kVm3};
  state.networks[1].uplink = kSecondUplink;
}

std::vector<ReceiveQueue> Testbed::queues_of(unsigned worker, unsigned workers,
                                             const ForwardingState& state) {
  std::vector<ReceiveQueue> queues;
  for (unsigned port = 0; port < kPortCount; ++port)
    for (unsigned queue = 0; queue < (wires_[port] ? wires_[port]->in.size() : 1); ++queue)
      if ((state.ports[port].owner + queue) % workers == worker)
        queues.push_back({.device = state.ports[port].device,
                          .queue_id = static_cast<std::uint16_t>(queue),
                          .port = static_cast<PortIndex>(port),
                          .pool = pool_});
  return queues;
}

void Testbed::make_rings(unsigned worker_count) {
  const auto ring = [&](const std::string& name, unsigned element) {
    rings_.push_back(make_ring("t" + std::to_string(number_) + name, element));
    return rings_.back();
  };
  worker_rings_.resize(worker_count);
  doorbells_ = std::make_unique<Doorbell[]>(worker_count);
  for (unsigned i = 0; i < worker_count; ++i) {
    const std::string suffix = std::to_string(i);
    worker_rings_[i].punt = FrameRing(ring("p" + suffix, sizeof(void*)));
    worker_rings_[i].uplink_punt = FrameRing(ring("u" + suffix, sizeof(void*)));
    worker_rings_[i].inject = FrameRing(ring("i" + suffix, sizeof(void*)));
    worker_rings_[i].learn = LearnRing(ring("l" + suffix, sizeof(LearnedMac)));
    worker_rings_[i].handoff_to.resize(worker_count);
    worker_rings_[i].doorbells = {doorbells_.get(), worker_count};
  }
  for (unsigned from = 0; from < worker_count; ++from)
    for (unsigned to = 0; to < worker_count; ++to) {
      if (from == to) continue;
      const FrameRing handoff(ring("h" + std::to_string(from) + std::to_string(to), sizeof(void*)));
      worker_rings_[from].handoff_to[to] = handoff;
      worker_rings_[to].handoff_from.push_back(handoff);
    }
}

void Testbed::make_workers(const Shape& shape) {
  for (unsigned i = 0; i < shape.workers; ++i) {
    Worker::Settings settings{.index = static_cast<WorkerIndex>(i),
                              .worker_count = shape.workers,
                              .uplink_count = shape.uplinks,
                              .idle = shape.idle,
                              .rings = worker_rings_[i],
                              .published = &published_,
                              .doorbell = &doorbells_[i],
                              .start_tsc = 0,
                              .tsc_hz = kTscHz};
    workers_.push_back(std::make_unique<Worker>(
        std::move(settings),
        conntrack::Conntrack::create(
            {.capacity = 4096, .seed = 42, .worker = static_cast<WorkerIndex>(i), .vm_ports = kPortCount},
            *external_ports_, *external_, *policies_),
        *external_ports_));
  }
}

void Testbed::put(PortIndex port, const Bytes& frame, unsigned queue) {
  put(port, buffer_of(frame, 2048, pool_), queue);
}

void Testbed::put(PortIndex port, rte_mbuf* frame, unsigned queue) {
  if (rte_ring_enqueue(wires_[port]->in[queue], frame) != 0) throw std::runtime_error("ring full");
}

void Testbed::put_unfinished(PortIndex port, const Bytes& frame, std::uint16_t segment_size) {
  rte_mbuf* buffer = buffer_of(frame, 2048, pool_);
  buffer->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
  if (segment_size != 0) buffer->ol_flags |= RTE_MBUF_F_RX_LRO;
  buffer->tso_segsz = segment_size;
  put(port, buffer);
}

std::uint16_t Testbed::device_of(PortIndex port) const {
  return wires_[port]->port_id;
}

void Testbed::run() {
  for (unsigned quiet = 0; quiet < 2; ++quiet)
    for (const auto& worker : workers_) {
      tsc_ += kTscHz / 1'000'000;
      if (worker->poll_once(tsc_) != 0) quiet = 0;
    }
}

void Testbed::poll() {
  tsc_ += kTscHz / 1'000'000;
  for (const auto& worker : workers_) worker->poll_once(tsc_);
}

void Testbed::exchange(PortIndex port, const Bytes& frame) {
  put(port, frame);
  run();
}

std::vector<Bytes> Testbed::take(PortIndex port) {
  std::vector<Bytes> frames;
  for (rte_ring* ring : wires_[port]->out)
    for (Bytes& frame : drained(FrameRing(ring))) frames.push_back(std::move(frame));
  return frames;
}

std::vector<SentFrame> Testbed::take_sent(PortIndex port) {
  std::vector<SentFrame> frames;
  FrameRing ring(wires_[port]->out[0]);
  rte_mbuf* frame = nullptr;
  while (ring.pop(&frame, 1) == 1) {
    most_buffers_sent_ = std::max<unsigned>(most_buffers_sent_, frame->nb_segs);
    SentFrame sent{.flags = frame->ol_flags, .segment_size = static_cast<std::uint16_t>(frame->tso_segsz)};
    sent.header_lengths = {static_cast<unsigned>(frame->l2_len), static_cast<unsigned>(frame->l3_len),
                           static_cast<unsigned>(frame->l4_len)};
    sent.bytes = bytes_of(frame);
    frames.push_back(std::move(sent));
  }
  return frames;
}

std::vector<Bytes> Testbed::take_punted() {
  std::vector<Bytes> frames;
  for (const Rings& rings : worker_rings_)
    for (const FrameRing& ring : {rings.uplink_punt, rings.punt})
      for (Bytes& frame : drained(ring)) frames.push_back(std::move(frame));
  return frames;
}

std::vector<LearnedMac> Testbed::take_learned() {
  std::vector<LearnedMac> all;
  LearnedMac learned{};
  for (Rings& rings : worker_rings_)
    while (rings.learn.pop(learned)) all.push_back(learned);
  return all;
}

void Testbed::inject(PortIndex port, const Bytes& frame) {
  inject(port, frame, published_.load()->ports[port].owner);
}

void Testbed::inject(PortIndex port, const Bytes& frame, WorkerIndex worker) {
  rte_mbuf* buffer = buffer_of(frame, 2048, pool_);
  note_of(buffer) = {.port = port, .from = port};
  if (!worker_rings_[worker].inject.push(buffer)) throw std::runtime_error("ring full");
  workers_[worker]->wake();
}

void Testbed::return_inbound(unsigned worker, const Bytes& frame) {
  rte_mbuf* buffer = buffer_of(frame, 2048, pool_);
  note_of(buffer) = {.port = kUplink, .errand = FrameNote::Errand::Inbound};
  if (!worker_rings_[worker].inject.push(buffer)) throw std::runtime_error("ring full");
}

void Testbed::return_unreachable(PortIndex port, const Bytes& frame, DropReason reason) {
  rte_mbuf* buffer = buffer_of(frame, 2048, pool_);
  note_of(buffer) = {.port = port, .errand = FrameNote::Errand::Unreachable, .reason = reason};
  if (!worker_rings_[published_.load()->ports[port].owner].inject.push(buffer))
    throw std::runtime_error("ring full");
}

void Testbed::advance(std::chrono::seconds time) {
  // In steps, so that the sweep gets its turns as it does in life.
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(time.count()) * 16; ++i) {
    tsc_ += kTscHz / 16;
    for (const auto& worker : workers_) worker->poll_once(tsc_);
  }
}

void Testbed::pass(std::chrono::microseconds time) {
  tsc_ += static_cast<std::uint64_t>(time.count()) * (kTscHz / 1'000'000);
  for (const auto& worker : workers_) worker->poll_once(tsc_);
}

void Testbed::change_state(const std::function<void(ForwardingState&)>& change) {
  auto next = std::make_unique<ForwardingState>(*states_.back());
  ++next->generation;
  change(*next);
  for (Port& port : next->ports)  // as control has it
    port.mtu = port.network == kNoNetwork ? std::max<std::uint16_t>(1500, next->uplinks[0].mtu)
                                          : next->networks[port.network].mtu;
  published_ = next.get();
  states_.push_back(std::move(next));
  for (const auto& worker : workers_) worker->wake();
}

void Testbed::learn(PortIndex port, net::MacAddr mac) {
  change_state([&](ForwardingState& state) {
    Network& network = state.networks[state.ports[port].network];
    std::vector<WordTable<PortIndex>::Entry> entries{{mac.as_word(), port}};
    for (const PortIndex other : network.ports)
      if (other != port && !state.ports[other].usual_mac.is_zero())
        entries.push_back({state.ports[other].usual_mac.as_word(), other});
    network.macs = WordTable<PortIndex>(entries);
    state.ports[port].usual_mac = mac;
  });
}

void Testbed::isolate(NetworkIndex network) {
  change_state([&](ForwardingState& state) {
    for (const PortIndex port : state.networks[network].ports) {
      state.ports[port].group = static_cast<GroupNumber>(port + 1);
      state.ports[port].is_alone = true;
    }
    if (const HostSide& host = state.networks[network].host; host.is_there())
      state.ports[host.port].group = kEveryGroup;
  });
}

Counts Testbed::counts() const {
  Counts counts;
  const auto add = [&](const std::string& name, const Counter& counter) {
    if (counter.get() != 0) counts[name] += counter.get();
  };
  for (const auto& worker : workers_) {
    const WorkerCounters& counters = worker->counters();
    for (unsigned port = 0; port < kPortCount; ++port) {
      add(std::string(kPortNames[port]) + ".rx", counters.ports[port].rx_packets);
      add(std::string(kPortNames[port]) + ".tx", counters.ports[port].tx_packets);
      for (std::size_t i = 0; i < kDropReasonCount; ++i)
        add("drop." + std::string(kDropNames[i]), counters.ports[port].drops[i]);
    }
    for (std::size_t i = 0; i < kPuntReasonCount; ++i)
      add("punt." + std::string(kPuntNames[i]), counters.punts[i]);
    add("flood_copies", counters.flood_copies);
    add("injected", counters.injected);
    add("generated", counters.icmp_errors_sent);
    add("generated", counters.tcp_resets_sent);
    add("tcp_resets.suppressed", counters.tcp_resets_suppressed);
    add("generated", counters.fragments_made);
    add("generated", counters.segments_made);
    add("fragments.held", counters.fragments_held);
    add("segments.merged", counters.segments_merged);
    add("limits.held", counters.limits_held);
    add("icmp_errors.suppressed", counters.icmp_errors_suppressed);
    add("handoff", counters.handoff_frames);
  }
  return counts;
}

bool Testbed::is_balanced() const {
  std::int64_t balance = 0;
  for (const auto& [name, value] : counts()) {
    const auto amount = static_cast<std::int64_t>(value);
    if (name.ends_with(".rx") || name == "flood_copies" || name == "injected" || name == "generated")
      balance += amount;
    if (name.ends_with(".tx") || name.starts_with("drop.") || name.starts_with("punt.") ||
        name == "fragments.held" || name == "segments.merged" || name == "limits.held")
      balance -= amount;
  }
  return balance == 0;
}

std::uint64_t Testbed::dropped(DropReason reason) const {
  std::uint64_t total = 0;
  for (const auto& worker : workers_)
    for (unsigned port = 0; port < kPortCount; ++port)
      total += worker->counters().ports[port].drops[index_of(reason)].get();
  return total;
}

std::size_t Testbed::free_buffers() const {
  return rte_mempool_avail_count(pool_);
}

}  // namespace vmnat::test
