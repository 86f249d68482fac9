// SPDX-License-Identifier: Apache-2.0
// VhostPort: the rings of a guest behind a vhost-user socket, as workers use them.
//
// Virtqueues are driven here (guest_queue.h), those of a guest that is being migrated by librte_vhost's bursts.
// librte_vhost's own thread talks with the guest's VMM (control/devices/vhost_socket.h), and must not change anything
// while a worker is at the rings: it has each ring's gate watched (worker_gate.h). pause() says that there is no guest,
// and a worker at a ring asks which guest is there, and whether the ring is enabled, once it is inside.
//
// A worker that sleeps has asked the guests to kick, by copies of the rings' eventfds (worker/wake_set.h).
// Whenever anything changes, librte_vhost's thread rings the doorbells of the port's workers, who then ask
// the guest and the rings that are there now. Copies, because nobody else can close them: what librte_vhost
// closes may be another file the next moment.
//
// After a migration a VMM asks to announce its VM to the network. The announcement comes out of receive()
// like a frame of the VM's own, and passes the same checks.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <rte_mbuf.h>
#include <rte_vhost.h>
#include <utility>

#include "base/cache_line.h"
#include "base/counter.h"
#include "conntrack/session.h"
#include "dataplane/device/announcement.h"
#include "dataplane/device/doorbell.h"
#include "dataplane/device/guest_memory.h"
#include "dataplane/device/guest_queue.h"
#include "dataplane/device/wake_source.h"
#include "dataplane/device/worker_gate.h"
#include "net/address.h"

namespace vmnat::dataplane {

class VhostPort {
 public:
  static constexpr unsigned kMostQueues = 64;  // pairs
  static constexpr int kDrivenHere = -2;       // instead of librte_vhost's number of the guest

  // A burst from the guest's transmit queue, in buffers of the pool. Workers, each for queues of its own.
  std::uint16_t receive(std::uint16_t queue, rte_mempool* pool, rte_mbuf** frames, std::uint16_t most) {
    const auto number = static_cast<std::uint16_t>(2 * queue + 1);
    return at_ring(number, [=, this](int guest, Ring& ring) -> std::uint16_t {
      if (queue == 0 && announced_.load(std::memory_order_relaxed) != 0) return announce(pool, frames);
      if (guest == kDrivenHere) return ring.queue.take(pool, frames, most);
      return rte_vhost_dequeue_burst(guest, number, pool, frames, most);
    });
  }
  // What the guest's receive queue has taken was copied, and is freed here.
  Transmission transmit(std::uint16_t queue, rte_mbuf** frames, std::uint16_t count) {
    const auto number = static_cast<std::uint16_t>(2 * queue);
    const Transmission result = at_ring(number, [=, this](int guest, Ring& ring) {
      if (guest == kDrivenHere) return ring.queue.put(frames, count);
      return enqueue(guest, number, frames, count);
    });
    result.free_sent(frames, count);
    return result;
  }

  // The same workers, around their sleep. Asks the guest to kick when the queue has frames; the worker closes
  // the descriptor, and says which it has (`known`). What was asked is followed by a full fence and a look.
  WakeSource ask_to_wake(std::uint16_t queue, std::uint32_t known);
  void stop_waking(std::uint16_t queue);
  // Frames are there that receive() has not taken, such as for want of buffers.
  bool has_waiting(std::uint16_t queue);

  // Control, before the workers run: who is to hear when a guest or a ring comes, goes or changes. The
  // doorbells outlive the port.
  void tell_worker(std::uint16_t queue, Doorbell& doorbell) { workers_[queue].store(&doorbell); }
  void tell_control(Doorbell& doorbell) { control_.store(&doorbell); }

  // librte_vhost's thread. `features` are virtio's, as negotiated; `guest` is its number there, whose bursts
  // are to be used, or kDrivenHere.
  //
  //   attach() -> resume() -> [ pause(), until not is_in_use(): rings and memory may change -> resume() ] ...
  //   pause(), until not is_in_use() -> detach()
  void attach(std::uint64_t features) {
    features_.store(features, std::memory_order_relaxed);
    is_attached_.store(true, std::memory_order_release);
  }
  void detach() {
    is_attached_.store(false, std::memory_order_relaxed);
    features_.store(0, std::memory_order_relaxed);
    ring_doorbells();
  }
  void resume(int guest) {
    generation_.store(generation_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    guest_.store(guest, std::memory_order_release);
    ring_doorbells();
  }
  void pause() { guest_.store(kNobody, std::memory_order_relaxed); }
  [[nodiscard]] bool is_paused() const { return has_guest() && guest_.load() == kNobody; }
  [[nodiscard]] bool is_driven_here() const { return guest_.load() == kDrivenHere; }
  [[nodiscard]] bool is_in_use() const {
    return std::ranges::any_of(rings_, [](const Ring& ring) { return ring.gate.is_inside(); });
  }
  // While no worker is at the rings: the guest's memory, and the rings that are driven here.
  GuestMemory& memory() { return memory_; }
  GuestQueue& queue(unsigned ring) { return rings_[ring].queue; }
  // Rings 2q and 2q + 1 are the guest's receive and transmit queue q; those beyond kMostQueues stay unused.
  void set_enabled(unsigned ring, bool is_enabled) {
    if (ring >= rings_.size() || rings_[ring].is_enabled.load(std::memory_order_relaxed) == is_enabled)
      return;
    if (ring >= rings_seen_.load(std::memory_order_relaxed))
      rings_seen_.store(ring + 1, std::memory_order_relaxed);
    rings_[ring].is_enabled.store(is_enabled, std::memory_order_relaxed);
    ring_doorbells();
  }
  // Where the ring's queue counts calls that a budget ended.
  Counter& deferrals(unsigned ring) { return rings_[ring].deferrals; }
  // Where it counts the guest's interrupts.
  Counter& interrupts(unsigned ring) { return rings_[ring].interrupts; }
  // The network is to hear once that this MAC is here; zero: no more.
  void announce(net::MacAddr mac) {
    announced_.store(mac.as_word(), std::memory_order_relaxed);
    ring_doorbells();
  }

  // Any thread.
  [[nodiscard]] bool has_guest() const { return is_attached_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t features() const { return features_.load(std::memory_order_relaxed); }
  // Calls that a budget of virtqueue.h ended with chains left, for the next one.
  [[nodiscard]] std::uint64_t deferrals() const { return sum_of(&Ring::deferrals); }
  // Of rings that are driven here.
  [[nodiscard]] std::uint64_t interrupts() const { return sum_of(&Ring::interrupts); }
  // Of the guest's receive queues, how many from the first on are enabled.
  [[nodiscard]] unsigned open_receive_queues() const {
    unsigned open = 0;
    while (open < kMostQueues && rings_[2 * open].is_enabled.load(std::memory_order_relaxed)) ++open;
    return open;
  }

 private:
  static constexpr int kNobody = -1;
  struct alignas(kCacheLineSize) Ring {
    WorkerGate gate;
    std::atomic<bool> is_enabled{false};
    GuestQueue queue;  // open when it is driven here
    Counter deferrals, interrupts;
  };

  // Over rings that have ever been enabled: a thousand ports' others are megabytes that nobody has touched.
  [[nodiscard]] std::uint64_t sum_of(Counter Ring::*counter) const {
    std::uint64_t sum = 0;
    for (unsigned ring = 0; ring < rings_seen_.load(std::memory_order_relaxed); ++ring)
      sum += (rings_[ring].*counter).get();
    return sum;
  }
  template <typename Burst>
  auto at_ring(unsigned number, Burst burst) -> decltype(burst(0, std::declval<Ring&>())) {
    Ring& ring = rings_[number];
    const WorkerGate::Pass pass(ring.gate);
    const int guest = guest_.load(std::memory_order_acquire);
    const bool is_open = guest != kNobody && ring.is_enabled.load(std::memory_order_relaxed);
    return is_open ? burst(guest, ring) : decltype(burst(guest, ring)){};
  }

  [[gnu::cold]] void ring_doorbells();
  [[gnu::cold]] std::uint16_t announce(rte_mempool* pool, rte_mbuf** frames) {
    frames[0] = make_announcement(pool, announced_.exchange(0, std::memory_order_relaxed));
    return frames[0] == nullptr ? 0 : 1;
  }
  // librte_vhost stops at a frame that its guest has no room for. When that takes the next one, it was the
  // frame.
  [[gnu::cold]] Transmission enqueue(int guest, std::uint16_t ring, rte_mbuf** frames, unsigned count) const {
    Transmission result;
    for (unsigned done = 0; done < count; ++done) {
      const unsigned sent =
          rte_vhost_enqueue_burst(guest, ring, frames + done, static_cast<std::uint16_t>(count - done));
      if (sent == 0 && done > 0) break;
      result.sent.add_first(sent, done);
      done += sent;
    }
    if ((features() & virtio::kMergeableBuffers) == 0) result.too_long = result.unsent(result.sent.reach());
    return result;
  }

  std::atomic<int> guest_{kNobody};  // for workers
  std::atomic<bool> is_attached_{false};
  std::atomic<std::uint64_t> features_{0};
  std::atomic<std::uint64_t> announced_{0};   // a MAC's word
  std::atomic<std::uint32_t> generation_{0};  // of guest and rings: changes only while no worker is at them
  std::atomic<unsigned> rings_seen_{0};       // that have been enabled are below it
  GuestMemory memory_;
  std::array<Ring, 2 * kMostQueues> rings_;
  std::array<std::atomic<Doorbell*>, kMostQueues> workers_{};  // by queue
  std::atomic<Doorbell*> control_{nullptr};
};

}  // namespace vmnat::dataplane
