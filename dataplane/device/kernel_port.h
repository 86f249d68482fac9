// SPDX-License-Identifier: Apache-2.0
// KernelPort: the packet sockets of a kernel interface, or the queues of a TAP device that we are attached to, as
// workers use them. Each queue is one worker's.
//
// Control opens them (control/devices/kernel_interface.h), and again when the interface has come back as
// another one, while no worker is at them: it closes the gate first, then waits until no worker is inside.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <rte_mbuf.h>
#include <utility>

#include "base/cache_line.h"
#include "dataplane/device/packet_socket.h"
#include "dataplane/device/tap_queue.h"
#include "dataplane/device/wake_source.h"
#include "dataplane/device/worker_gate.h"

namespace vmnat::dataplane {

class KernelPort {
 public:
  static constexpr unsigned kMostQueues = 64;

  // A burst that has arrived, in buffers of the pool.
  std::uint16_t receive(std::uint16_t queue, rte_mempool* pool, rte_mbuf** frames, std::uint16_t most) {
    return at(queue, [=](auto& end) { return end.take(pool, frames, most); });
  }
  // What the interface has taken was copied, and is freed here.
  Transmission transmit(std::uint16_t queue, rte_mbuf** frames, std::uint16_t count) {
    const Transmission result = at(queue, [=](auto& end) { return end.put(frames, count); });
    result.free_sent(frames, count);
    return result;
  }

  // The worker of a queue, around its sleep: as BurstPort has them. Its descriptors tell of frames at any time.
  WakeSource ask_to_wake(std::uint16_t queue, std::uint32_t known);
  [[nodiscard]] bool has_waiting(std::uint16_t queue);

  // Control: close(), until not is_in_use(): sockets or TAP queues may be opened and closed -> open().
  void open() {
    openings_.fetch_add(1, std::memory_order_relaxed);
    is_open_.store(true, std::memory_order_release);
  }
  void close() { is_open_.store(false, std::memory_order_relaxed); }
  [[nodiscard]] bool is_in_use() const {
    return std::ranges::any_of(queues_, [](const Queue& queue) { return queue.gate.is_inside(); });
  }
  PacketSocket& socket(unsigned queue) { return queues_[queue].socket; }
  TapQueue& tap(unsigned queue) { return queues_[queue].tap; }

  // Any thread.
  [[nodiscard]] std::uint32_t openings() const { return openings_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool is_open() const { return is_open_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t frames_cut() const {
    std::uint64_t sum = 0;
    for (const Queue& queue : queues_) sum += queue.socket.frames_cut();
    return sum;
  }

 private:
  struct alignas(kCacheLineSize) Queue {
    WorkerGate gate;
    PacketSocket socket;  // one of the two is open
    TapQueue tap;
  };

  template <typename Burst>
  auto at(unsigned number, Burst burst) -> decltype(burst(std::declval<PacketSocket&>())) {
    Queue& queue = queues_[number];
    const WorkerGate::Pass pass(queue.gate);
    if (!is_open_.load(std::memory_order_acquire)) return {};
    return queue.socket.is_open() ? burst(queue.socket) : burst(queue.tap);
  }

  std::atomic<bool> is_open_{false};
  std::atomic<std::uint32_t> openings_{0};
  std::array<Queue, kMostQueues> queues_;
};

}  // namespace vmnat::dataplane
