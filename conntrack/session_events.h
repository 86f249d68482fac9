// SPDX-License-Identifier: Apache-2.0
// What a worker tells those who listen of its sessions, as it happens: that one has opened, its TCP state has changed,
// it has ended. And of blocks of ports that VMs get (policy.h): that one is given, and returned.
//
//   worker     add(event): a copy into a ring of a fixed size; what finds no room is counted as missed
//   listener   take(event) ..., on a thread of its own
//
// A session's life, TCP:  Opened syn-outbound | Changed established | Changed closing | Ended, with what it has counted.
// UDP has Opened and Ended alone. A session that goes on from an earlier process is told when it changes or ends.
#pragma once

#include <atomic>
#include <bit>
#include <memory>
#include <vector>

#include "base/cache_line.h"
#include "base/counter.h"
#include "conntrack/session_view.h"

namespace vmnat::conntrack {

enum class EventKind : std::uint8_t { Opened, Changed, Ended, BlockGiven, BlockReturned };

struct SessionEvent {
  EventKind kind{};
  std::uint16_t block_ports =
      0;  // of a block: so many from session.external on; the internal address has them
  net::MacAddr mac;
  Time when{};
  SessionView session{};
};

struct VmBlock;
// Of a block of the external address.
SessionEvent event_of(EventKind kind, const VmBlock& block, net::Ipv4Addr external, Time when);

class SessionEventRing {
 public:
  enum class About : std::uint8_t { Sessions, Blocks };

  // The listener. At least so many events; their memory is touched at once: a worker never waits for a page.
  SessionEventRing(About about, std::size_t events)
      : about_(about), mask_(std::bit_ceil(events) - 1), events_(mask_ + 1) {}

  // `is_in_block`: the session's port is of a VM's block. One that listens to blocks hears of the other sessions alone.
  [[nodiscard]] bool wants(EventKind kind, bool is_in_block) const {
    const bool is_of_block = kind >= EventKind::BlockGiven;
    return about_ == About::Blocks ? is_of_block || !is_in_block : !is_of_block;
  }
  // The worker.
  void add(const SessionEvent& event) {
    if (written_ - known_taken_ > mask_)
      known_taken_ = taken_.load(std::memory_order_acquire);  // pairs with take()
    if (written_ - known_taken_ > mask_) return missed_.add(1);
    events_[written_ & mask_] = event;
    published_.store(++written_, std::memory_order_release);  // pairs with take()
  }

  // The listener: the oldest event. False: there is none.
  bool take(SessionEvent& event) {
    if (read_ == published_.load(std::memory_order_acquire)) return false;  // pairs with add()
    event = events_[read_ & mask_];
    taken_.store(++read_, std::memory_order_release);  // pairs with add()
    return true;
  }
  // Any thread.
  [[nodiscard]] std::uint64_t missed() const { return missed_.get(); }

 private:
  const About about_;
  const std::size_t mask_;
  std::vector<SessionEvent> events_;
  Counter missed_;
  // The worker's; events since start, as all that follow.
  alignas(kCacheLineSize) std::uint64_t written_ = 0;
  std::uint64_t known_taken_ = 0;
  std::atomic<std::uint64_t> published_{0};
  // The listener's.
  alignas(kCacheLineSize) std::uint64_t read_ = 0;
  std::atomic<std::uint64_t> taken_{0};
};

// Everybody's ring of one worker; of all workers, as published.
using SessionEventRings = std::vector<std::shared_ptr<SessionEventRing>>;
using SessionListeners = std::vector<SessionEventRings>;

}  // namespace vmnat::conntrack
