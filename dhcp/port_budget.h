// SPDX-License-Identifier: Apache-2.0
// PortBudget: how often each port may have something done. One token bucket a port, so that a VM's flood
// costs only its own port.
//
// A bucket holds two seconds' worth and fills at `per_second`. Example at 100 messages a second: a quiet port
// may send 200 at once, then one every 10 ms. Time that goes backwards gives nothing and takes nothing. There
// are as few buckets as ports in the configuration, and none is ever removed.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <unordered_map>

namespace vmnat::dhcp {

// `Time`: a time point of any clock.
template <typename Time, typename Port = std::string>
class PortBudget {
 public:
  // Takes one from the port's budget; false when it is used up. `per_second` 0: no limit.
  bool take(const Port& port, unsigned per_second, Time now) {
    if (per_second == 0) return true;
    const double full = 2.0 * per_second;
    Bucket& bucket = buckets_.try_emplace(port, Bucket{full, now}).first->second;
    const std::chrono::duration<double> passed = std::max(now - bucket.filled, Time::duration::zero());
    bucket = {std::min(full, bucket.tokens + passed.count() * per_second), now};
    if (bucket.tokens < 1.0) return false;
    bucket.tokens -= 1.0;
    return true;
  }

 private:
  struct Bucket {
    double tokens;
    Time filled;
  };
  std::unordered_map<Port, Bucket> buckets_;
};

}  // namespace vmnat::dhcp
