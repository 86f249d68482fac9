// SPDX-License-Identifier: Apache-2.0
// Worker: one lcore's endless poll over its receive queues and rings.
//
// Threads: everything in a Worker belongs to its own thread, except `counters()`, the control ends of the
// rings and of the two boxes, `refused_remotes()` and `seen_generation()`, which control may use at any time.
// One poll, in this order (poll_once):
//
//   take what control has injected off its ring; then the published state with the queues to poll, and the time
//   carry out the errands of injected frames
//   a burst from each receive queue that has its turn (poll_set.h) and that no limit holds (limit_gate.h); what
//   VMs' ports bring goes through the pipeline together, up to a burst at a time: of many VMs each has a frame or two
//   carry out the errands of frames that other workers have handed over
//   transmit
//   a bounded bit of flushing; an inspection; a bounded bit of expiry
//   announce that this state is no longer needed (quiescent point)
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "base/cache_line.h"
#include "base/counter.h"
#include "base/ids.h"
#include "dataplane/context/context.h"
#include "dataplane/worker/expiry_pace.h"
#include "dataplane/worker/flush.h"
#include "dataplane/worker/idle.h"
#include "dataplane/worker/inspection.h"
#include "dataplane/worker/limit_gate.h"
#include "dataplane/worker/poll_set.h"

namespace vmnat::dataplane {

enum class Idle : std::uint8_t { Poll, Adaptive };

class Worker {
 public:
  struct Settings {
    WorkerIndex index = 0;
    unsigned worker_count = 1;
    PortIndex uplink_count = 1;  // of the states that are published
    Idle idle = Idle::Adaptive;
    Rings rings;
    const std::atomic<const ForwardingState*>* published = nullptr;  // outlives the worker
    Doorbell* doorbell = nullptr;  // the worker's, outlives it; nullptr: it looks for itself, each 2 ms
    std::uint64_t start_tsc = 0;   // time zero of all workers
    std::uint64_t tsc_hz = 0;
    std::uint64_t seed = 0;  // secret and random
  };

  Worker(Settings settings, std::unique_ptr<conntrack::Conntrack> conntrack,
         const conntrack::ExternalPorts& external_ports);

  // False: it may not run, for want of address space.
  [[nodiscard]] bool has_memory() const {
    return counters_.ports.reserved() && transmitter_.has_memory() && limit_gate_.has_memory() &&
           host_flows_.has_memory() && served_flows_.has_memory() && peer_flows_.has_memory();
  }

  // Polls until request_stop(), then frees the frames that wait in its rings and tables.
  void run();
  void request_stop() {
    stop_.store(true, std::memory_order_relaxed);
    wake();
  }

  // One poll; returns the number of frames that it found, and one more while it flushes. `tsc` is the time
  // stamp counter's value.
  unsigned poll_once(std::uint64_t tsc);

  // Any thread.
  [[nodiscard]] const WorkerCounters& counters() const { return counters_; }
  [[nodiscard]] const conntrack::Conntrack& conntrack() const { return *conntrack_; }
  [[nodiscard]] const RefusedRemotes& refused_remotes() const { return refused_remotes_; }
  [[nodiscard]] std::uint64_t seen_generation() const {
    return seen_generation_.load(std::memory_order_acquire);
  }
  // After something was left for it that it might sleep over: a state, a frame, a request in a box.
  void wake() {
    if (settings_.doorbell != nullptr) settings_.doorbell->ring();
  }
  FlushBox& flush_box() { return flush_box_; }
  InspectionBox& inspection_box() { return inspection_box_; }
  // Polls done so far: grows as long as the worker lives.
  [[nodiscard]] std::uint64_t polls() const { return polls_.get(); }

 private:
  unsigned receive(PolledQueue& polled);
  [[gnu::cold]] void settle_claims(const BurstPort& device, unsigned first);
  void leave_vlan(std::uint16_t vlan, unsigned first);
  [[gnu::cold]] unsigned limited_room(PolledQueue& polled, const PortLimits& limits);
  void run_gathered();
  unsigned take_handoffs(FrameRing& ring);
  void take_injected(rte_mbuf** frames, unsigned count);
  void read_clock(std::uint64_t tsc);
  void expire_sessions(std::uint64_t tsc);
  [[gnu::cold]] unsigned flush_sessions();
  [[gnu::cold]] void follow(const ForwardingState& state);
  [[gnu::cold]] void adopt(PollSet& polled);
  [[gnu::cold]] void watch_for(Watches* watches);
  [[gnu::cold]] void tell(const conntrack::SessionListeners* listeners);
  [[gnu::cold]] void limit_by(const LimitTable* limits);
  [[gnu::cold]] void limit_queues(const LimitTable* limits);
  void drain_rings();
  [[nodiscard]] std::chrono::milliseconds longest_sleep() const;

  // What has come from a queue, and is in the burst.
  struct Gathered {
    PolledQueue* from;
    std::uint64_t bytes;
  };

  Settings settings_;
  std::unique_ptr<conntrack::Conntrack> conntrack_;
  WorkerCounters counters_;
  Transmitter transmitter_;
  LimitGate limit_gate_;
  FragmentTable fragments_;
  DatagramNumbers datagram_numbers_;
  RefusedRemotes refused_remotes_;
  HostFlows host_flows_, served_flows_;
  PeerFlows peer_flows_;
  PuntBudgets punt_budgets_;
  std::vector<PortIcmpErrors> port_icmp_error_budgets_;
  std::vector<FloodBudget> port_flood_budgets_;
  Context context_;
  Burst burst_;  // what has been received and has not gone its way yet; between the queues' turns, anything's
  std::array<Gathered, kBurstSize> gathered_;
  unsigned gathered_count_ = 0;
  std::uint64_t tsc_ = 0;  // of the poll
  std::uint64_t next_tick_tsc_ = 0;
  ExpiryPace expiry_pace_;
  IdleRest rest_;
  Counter polls_;
  FlushBox flush_box_;
  InspectionBox inspection_box_;
  // Of the state, as handed to conntrack.
  const conntrack::ExternalAddresses* external_ = nullptr;
  const conntrack::NatPolicies* policies_ = nullptr;
  PollSet* polled_ = nullptr;         // of the state of the last poll
  const Watches* watches_ = nullptr;  // the same
  const conntrack::SessionListeners* listeners_ = nullptr;
  const LimitTable* limits_ = nullptr;
  alignas(kCacheLineSize) std::atomic<std::uint64_t> seen_generation_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace vmnat::dataplane
