// SPDX-License-Identifier: Apache-2.0
// How many messages each port may send: a token bucket a port, so that one VM's flood costs its own port.
//
// A bucket holds two seconds' worth and fills at `per_second`. Example at 100 a second: a quiet port may send
// 200 messages at once, then one every 10 ms. Time that goes backwards gives nothing and takes nothing.
// Ports are those of the configuration, so there are few buckets and none is ever removed.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <unordered_map>

#include "dhcp/lease.h"

namespace vmnat::dhcp {

class PortBudget {
 public:
  // Takes one message from the port's budget; false when it is used up. `per_second` 0: no limit.
  bool take(const std::string& port, unsigned per_second, WallTime now) {
    if (per_second == 0) return true;
    const double full = 2.0 * per_second;
    Bucket& bucket = buckets_.try_emplace(port, Bucket{full, now}).first->second;
    const std::chrono::duration<double> passed = std::max(now - bucket.filled, WallTime::duration::zero());
    bucket = {std::min(full, bucket.tokens + passed.count() * per_second), now};
    if (bucket.tokens < 1.0) return false;
    bucket.tokens -= 1.0;
    return true;
  }

 private:
  struct Bucket {
    double tokens;
    WallTime filled;
  };
  std::unordered_map<std::string, Bucket> buckets_;
};

}  // namespace vmnat::dhcp
