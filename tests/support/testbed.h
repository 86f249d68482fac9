// SPDX-License-Identifier: Apache-2.0
// Testbed: workers with rings for wires. Frames are put into a port, workers polled by hand with a clock
// that the test owns, and what they sent is read from the other end.
//
//   uplink  203.0.113.2/24 (gateway 203.0.113.1)         port 0
//   red     192.168.122.1/24, nat, dhcp: vm1, vm2, vm3   ports 1, 2, 3
//   blue    192.168.5.1/24, nat: vm4                     port 4
//   island  10.9.0.1/24, isolated: vm5                   port 5
//
// With two uplinks port 1 is the second one, 192.0.2.2/24 (gateway 192.0.2.1), blue is on it, and red has vm2 and vm3.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/worker/worker.h"
#include "tests/support/packet_builder.h"

namespace vmnat::test {

inline constexpr net::MacAddr kUplinkMac{{0x02, 0, 0, 0, 0, 0xaa}};
inline constexpr net::MacAddr kRouterMac{{0x02, 0, 0, 0, 0, 0xbb}};
inline constexpr net::MacAddr kSecondUplinkMac{{0x02, 0, 0, 0, 0, 0xac}};
inline constexpr net::MacAddr kSecondRouterMac{{0x02, 0, 0, 0, 0, 0xbc}};
inline constexpr net::MacAddr kRedMac{{0x52, 0x54, 0, 0, 1, 1}};
inline constexpr net::MacAddr kBlueMac{{0x52, 0x54, 0, 0, 2, 1}};
inline constexpr net::MacAddr kIslandMac{{0x52, 0x54, 0, 0, 3, 1}};
constexpr net::MacAddr vm_mac(std::uint8_t number) {
  return {{0x52, 0x54, 0, 0xaa, 0, number}};
}
inline constexpr const char* kExternal = "203.0.113.2";
inline constexpr const char* kSecondExternal = "192.0.2.2";
inline constexpr const char* kServer = "198.51.100.7";  // a remote behind the router
inline constexpr const char* kVm1Address = "192.168.122.10";
inline constexpr const char* kVm2Address = "192.168.122.11";
constexpr PortIndex kUplink = 0, kVm1 = 1, kVm2 = 2, kVm3 = 3, kVm4 = 4, kVm5 = 5;
inline constexpr PortIndex kSecondUplink = kVm1;
inline constexpr unsigned kPortCount = 6;

// Of all testbeds; the EAL is started at first use.
rte_mempool* packet_pool();
// Another one like it.
rte_mempool* make_packet_pool(const std::string& name, unsigned buffers);
// A frame in buffers of a pool, each with so many bytes at most.
rte_mbuf* buffer_of(const Bytes& frame, std::size_t of_each_buffer = 2048, rte_mempool* pool = packet_pool());

// Non-zero counters by name: "vm1.rx", "uplink.tx", "drop.ip_header", "punt.dhcp", "flood_copies", ...
using Counts = std::map<std::string, std::uint64_t>;

// A sent frame with what it asks of the device.
struct SentFrame {
  Bytes bytes;
  std::uint64_t flags = 0;  // RTE_MBUF_F_*
  std::uint16_t segment_size = 0;
  std::array<unsigned, 3> header_lengths{};  // l2, l3, l4
};

class Testbed {
 public:
  struct Shape {
    unsigned workers = 1;
    PortIndex uplinks = 1;  // or 2
    conntrack::NatPolicy policy{};
    unsigned uplink_queues = 1;        // each way; they go round the workers
    std::vector<WorkerIndex> homes{};  // of the external ports' blocks
    net::Ipv4Prefix uplink{net::Ipv4Addr::of(203, 0, 113, 2), 24};
    net::Ipv4Addr router = net::Ipv4Addr::of(203, 0, 113, 1);
    // Ports whose wire is a guest's rings, in the test's hands; they outlive the testbed.
    std::array<dataplane::VhostPort*, kPortCount> guests{};
    std::array<std::uint16_t, kPortCount> vlans{};  // that ports are of their wires
    bool is_trunk = false;        // the first port's wire, as a Trunk, is that of all; one worker
    rte_mempool* pool = nullptr;  // of all its frames; packet_pool() by default
    dataplane::Idle idle = dataplane::Idle::Poll;  // of workers that run by themselves, on the test's threads
  };
  explicit Testbed(unsigned worker_count = 1, const conntrack::NatPolicy& policy = {})
      : Testbed(Shape{.workers = worker_count, .policy = policy}) {}
  explicit Testbed(const Shape& shape);
  ~Testbed();

  void put(PortIndex port, const Bytes& frame, unsigned queue = 0);
  void put(PortIndex port, rte_mbuf* frame, unsigned queue = 0);
  // As a guest hands it over: partial checksum, and with a segment size a super-frame.
  void put_unfinished(PortIndex port, const Bytes& frame, std::uint16_t segment_size);
  // Polls every worker until nothing moves any more.
  void run();
  // Puts one frame in and polls until nothing moves any more.
  void exchange(PortIndex port, const Bytes& frame);
  std::vector<Bytes> take(PortIndex port);                      // what was sent by the port
  std::vector<SentFrame> take_sent(PortIndex port);             // of its first queue
  [[nodiscard]] std::uint16_t device_of(PortIndex port) const;  // DPDK's number
  // Of a frame that take_sent() has seen.
  [[nodiscard]] unsigned most_buffers_sent() const { return most_buffers_sent_; }
  std::vector<Bytes> take_punted();
  std::vector<dataplane::LearnedMac> take_learned();
  void inject(PortIndex port, const Bytes& frame);
  void inject(PortIndex port, const Bytes& frame, WorkerIndex worker);  // the port's or another
  void return_inbound(unsigned worker, const Bytes& frame);  // as control does with one that waited for a VM
  // ... and with one that it has asked in vain for.
  void return_unreachable(PortIndex port, const Bytes& frame, dataplane::DropReason reason);
  void advance(std::chrono::seconds time);    // the clock; sessions expire in the next run
  void pass(std::chrono::microseconds time);  // all of it at once, then one poll
  // Publishes a changed state.
  void change_state(const std::function<void(dataplane::ForwardingState&)>& change);
  void learn(PortIndex port, net::MacAddr mac);
  // As control has it: each port of the network is alone.
  void isolate(dataplane::NetworkIndex network);

  [[nodiscard]] Counts counts() const;
  // received + flood copies + injected + generated = transmitted + punted + dropped + fragments held +
  // segments merged
  [[nodiscard]] bool is_balanced() const;
  [[nodiscard]] std::uint64_t dropped(dataplane::DropReason reason) const;
  [[nodiscard]] std::size_t free_buffers() const;  // all of them again once nothing is held
  // Polls once, each worker.
  void poll();
  dataplane::FlushBox& flush_box(unsigned i) { return workers_[i]->flush_box(); }
  [[nodiscard]] const dataplane::Worker& worker(unsigned i) const { return *workers_[i]; }
  dataplane::Worker& worker(unsigned i) { return *workers_[i]; }
  dataplane::Doorbell& doorbell(unsigned i) { return doorbells_[i]; }
  // The workers' clock, and its ticks a second.
  [[nodiscard]] std::uint64_t tsc() const { return tsc_; }
  static constexpr std::uint64_t kTscHz = 1'000'000'000;
  [[nodiscard]] std::uint64_t generation() const { return states_.back()->generation; }

 private:
  struct Wire;
  void make_state(const Shape& shape);
  [[nodiscard]] dataplane::BurstPort device_at(unsigned port, const Shape& shape) const;
  static void add_uplink(dataplane::ForwardingState& state);
  std::vector<dataplane::ReceiveQueue> queues_of(unsigned worker, unsigned workers,
                                                 const dataplane::ForwardingState& state);
  void make_rings(unsigned worker_count);
  void make_workers(const Shape& shape);

  unsigned number_;
  rte_mempool* pool_;
  std::vector<std::unique_ptr<Wire>> wires_;  // none where there is a guest, or another's
  std::unique_ptr<dataplane::Trunk> trunk_;   // of the first one
  std::vector<rte_ring*> rings_;
  std::vector<dataplane::Rings> worker_rings_;
  std::unique_ptr<dataplane::Doorbell[]> doorbells_;  // by worker
  std::vector<std::unique_ptr<const dataplane::ForwardingState>> states_;
  std::atomic<const dataplane::ForwardingState*> published_{nullptr};
  std::vector<conntrack::ExternalIndex> addresses_{0};
  std::shared_ptr<const conntrack::NatPolicies> policies_;
  std::shared_ptr<const conntrack::ExternalAddresses> external_;
  std::unique_ptr<conntrack::ExternalPorts> external_ports_;
  std::vector<std::unique_ptr<dataplane::Worker>> workers_;
  std::uint64_t tsc_ = 1;
  unsigned most_buffers_sent_ = 0;
};

}  // namespace vmnat::test
