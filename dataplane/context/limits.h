// SPDX-License-Identifier: Apache-2.0
// Limits: how much ports may send and get, each by itself and together with others.
//
// A Limit is of one direction: bytes a second with a burst, a peak for that burst, packets a second. Up to three hold
// for a frame, and it goes when all of them let it:
//
//                own        network's (networks[].shared_limit)   uplink's (uplink.limit)
//   out          the port   all that the network's VMs send       what of it is for the other side of the uplink
//   in           the port   all that they get                     what of it came from there
//
// What a VM sends stays in its own ring until it may come (limit_gate.h); what is for it waits in a queue of the
// transmitter (held_frames.h). So a limit costs a VM nothing but time, and nobody else anything.
//
// Threads: control makes the table, and publishes it with a forwarding state. A Limit that does not change is in the
// next table as well, with what has been taken. Its buckets are all workers', which charge them after each burst.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "base/cache_line.h"
#include "base/ids.h"
#include "base/rate_bucket.h"
#include "dataplane/frame/wire_size.h"

namespace vmnat::dataplane {

class alignas(kCacheLineSize) Limit {
 public:
  // A rate of 0: there is no such limit.
  struct Rates {
    RateBucket::Rate bytes, peak, packets;
    bool operator==(const Rates&) const = default;
  };
  // What may be taken, while both are positive.
  struct Left {
    std::int64_t bytes, frames;
    [[nodiscard]] bool is_any() const { return bytes > 0 && frames > 0; }
  };

  Limit(const Rates& rates, std::uint64_t hz, std::uint64_t start)
      : rates_(rates),
        bytes_(rates.bytes, hz, start),
        peak_(rates.peak, hz, start),
        packets_(rates.packets, hz, start) {}

  [[nodiscard]] const Rates& rates() const { return rates_; }
  [[nodiscard]] Left left(std::uint64_t now) const {
    return {std::min(balance(bytes_, now), balance(peak_, now)), balance(packets_, now)};
  }
  void charge(std::uint64_t now, const WireSize& taken) {
    if (rates_.bytes.per_second != 0) bytes_.charge(now, taken.bytes);
    if (rates_.peak.per_second != 0) peak_.charge(now, taken.bytes);
    if (rates_.packets.per_second != 0) packets_.charge(now, taken.frames);
  }
  // Of a limit that ports share: bytes that one of them has before it is the next one's turn. Half a millisecond of the
  // rate, but two full frames, and not more than a super-frame.
  [[nodiscard]] std::int64_t turn() const {
    if (rates_.bytes.per_second == 0) return kLongestTurn;
    return std::clamp(static_cast<std::int64_t>(rates_.bytes.per_second / 2000), kShortestTurn, kLongestTurn);
  }
  // Its burst is no less than what the rate brings in 2 ms: nobody has to be awake for it all the time.
  [[nodiscard]] bool is_patient() const {
    constexpr std::uint64_t kNaps = 500;  // a second
    return rates_.bytes.burst >= rates_.bytes.per_second / kNaps &&
           rates_.packets.burst >= rates_.packets.per_second / kNaps &&
           rates_.peak.burst >= rates_.peak.per_second / kNaps;
  }
  // Bytes that may wait for it: 50 ms of the rate, or of full frames at that of packets; a super-frame at least.
  [[nodiscard]] std::uint64_t queue() const {
    std::uint64_t a_second = std::numeric_limits<std::uint64_t>::max();
    if (rates_.bytes.per_second != 0) a_second = rates_.bytes.per_second;
    if (rates_.packets.per_second != 0) a_second = std::min(a_second, rates_.packets.per_second * kFullFrame);
    return std::max(a_second / 20, kShortestQueue);
  }

 private:
  static constexpr std::int64_t kShortestTurn = 2 * kFullFrame, kLongestTurn = 65536;
  static constexpr std::uint64_t kShortestQueue = 65536;

  static std::int64_t balance(const RateBucket& bucket, std::uint64_t now) {
    if (bucket.rate().per_second == 0) return std::numeric_limits<std::int64_t>::max();
    return bucket.balance(now);
  }

  Rates rates_;
  RateBucket bytes_, peak_, packets_;
};

// Those of a port's frames in one direction; nullptr: there is none.
struct LimitsOneWay {
  Limit* own = nullptr;
  Limit* network = nullptr;
  Limit* uplink = nullptr;
  [[nodiscard]] bool is_any() const { return own != nullptr || network != nullptr || uplink != nullptr; }
  [[nodiscard]] bool is_patient() const {
    return (own == nullptr || own->is_patient()) && (network == nullptr || network->is_patient()) &&
           (uplink == nullptr || uplink->is_patient());
  }
  // Bytes that may wait for all of them.
  [[nodiscard]] std::uint64_t queue() const {
    std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    for (const Limit* const limit : {own, network, uplink})
      if (limit != nullptr) most = std::min(most, limit->queue());
    return most;
  }
  bool operator==(const LimitsOneWay&) const = default;
};

struct PortLimits {
  LimitsOneWay in, out;  // towards the VM, from the VM
  std::uint16_t network = 0;
  PortIndex of_uplink = 0;  // whose limits `uplink` are
  bool operator==(const PortLimits&) const = default;
};

struct LimitTable {
  std::vector<PortLimits> ports;            // by PortIndex; shorter: the others have none
  std::vector<std::shared_ptr<Limit>> all;  // that they point to

  [[nodiscard]] const PortLimits* of(PortIndex port) const {
    return port < ports.size() ? &ports[port] : nullptr;
  }
};

}  // namespace vmnat::dataplane
