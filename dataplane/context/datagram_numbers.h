// SPDX-License-Identifier: Apache-2.0
// DatagramNumbers: IPv4 identifications for datagrams that leave in fragments, from an address that VMs
// share.
//
// Two VMs that send to one remote through one external address may choose equal identifications, and the
// remote would mix their fragments up (RFC 6864 5.3: who rewrites addresses answers for the identification
// as if the datagram were its own). So fragmented datagrams that leave are numbered anew, by a counter for
// each (remote, protocol); those of several remotes may share one, which only skips numbers. Workers count
// in ranges of their own. Example, 2 workers: worker 0 gives 1 .. 32767, worker 1 gives 32768 .. 65534.
#pragma once

#include <array>
#include <cstdint>

#include "base/ids.h"
#include "base/random.h"
#include "conntrack/hash.h"
#include "conntrack/policy.h"

namespace vmnat::dataplane {

class DatagramNumbers {
 public:
  // `seed`, secret, is where the counters start (RFC 7739 is about why).
  DatagramNumbers(std::uint64_t seed, WorkerIndex worker, unsigned worker_count)
      : hash_(seed), span_(0xffffu / worker_count), first_(1 + worker * span_) {
    Random random(seed);
    for (std::uint16_t& counter : counters_) counter = static_cast<std::uint16_t>(random.next() % span_);
  }

  // Never 0, and none again before 65535 / workers others.
  std::uint16_t next(net::Ipv4Addr remote, std::uint8_t protocol) {
    const std::uint64_t hash = hash_({.remote = remote.raw(), .local = protocol});
    std::uint16_t& counter = counters_[hash % kCounters];
    counter = static_cast<std::uint16_t>(counter + 1u < span_ ? counter + 1u : 0);
    return static_cast<std::uint16_t>(first_ + counter);
  }

 private:
  static constexpr std::size_t kCounters = 2048;
  conntrack::FlowHash hash_;
  std::uint32_t span_;
  std::uint32_t first_;
  std::array<std::uint16_t, kCounters> counters_{};
};

}  // namespace vmnat::dataplane
