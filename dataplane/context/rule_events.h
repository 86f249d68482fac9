// SPDX-License-Identifier: Apache-2.0
// RuleEvents: frames that have met a rule with `log`, on their way from one worker to control. What finds no room is
// counted, and the worker goes on.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/cache_line.h"
#include "base/counter.h"
#include "base/ids.h"
#include "net/address.h"
#include "net/wire.h"

namespace vmnat::dataplane {

struct RuleEvent {
  std::uint32_t rule = 0;  // its number
  PortIndex port = 0;      // of the VM
  Direction direction{};
  bool is_ipv4 = true;
  net::Protocol protocol{};
  std::uint8_t icmp_type = 0;
  net::Ipv4Addr remote;
  net::L4Port local_port, remote_port;
};

class RuleEvents {
 public:
  static constexpr std::uint32_t kRoom = 64;

  // The worker.
  void put(const RuleEvent& event) {
    const std::uint32_t at = written_.load(std::memory_order_relaxed);
    // Pairs with take(): what it has read may be written over.
    if (at - read_.load(std::memory_order_acquire) == kRoom) return missed_.add(1);
    events_[at % kRoom] = event;
    written_.store(at + 1, std::memory_order_release);  // pairs with take(): the event is whole
  }
  // Control. False: there is none.
  bool take(RuleEvent& event) {
    const std::uint32_t at = read_.load(std::memory_order_relaxed);
    if (at == written_.load(std::memory_order_acquire)) return false;  // pairs with put()
    event = events_[at % kRoom];
    read_.store(at + 1, std::memory_order_release);  // pairs with put()
    return true;
  }
  // Any thread.
  [[nodiscard]] std::uint64_t missed() const { return missed_.get(); }

 private:
  std::array<RuleEvent, kRoom> events_{};
  std::atomic<std::uint32_t> written_{0};
  Counter missed_;
  alignas(kCacheLineSize) std::atomic<std::uint32_t> read_{0};
};

}  // namespace vmnat::dataplane
