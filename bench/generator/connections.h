// SPDX-License-Identifier: Apache-2.0
// Connection rates: UDP flows opened a second, and TCP connections opened and closed a second (CSIT: CPS).
//
// RFC 9693 calls the first the maximum connection establishment rate. Each trial uses flows that the device
// has never seen; they are counted when their frame (UDP) or their last segment (TCP) has come through, and
// one of 64 frames is verified in full. Without a rate the device sets the pace: its full ring holds UDP
// frames back, and of TCP at most 256 connections are under way. With a rate, openings are paced (pacer.h),
// and a connection that is not complete at the end of the trial is lost: nothing is sent twice.
#pragma once

#include <vector>

#include "bench/generator/point.h"

namespace vmnat::bench {

struct ConnectionTrial {
  std::uint64_t attempted = 0;
  std::uint64_t completed = 0;
  double seconds = 0;  // from the first frame to the last arrival
  double generator_busy = 0;
  [[nodiscard]] double millions_per_second() const {
    return seconds > 0 ? static_cast<double>(completed) / seconds / 1e6 : 0;
  }
  [[nodiscard]] double loss() const {
    return attempted > completed ? static_cast<double>(attempted - completed) / static_cast<double>(attempted)
                                 : 0;
  }
};

// `rate` in millions a second; 0: as many as the device takes. Flows first..first+count-1 are new to the
// device.
struct ConnectionPlan {
  FlowNumber first;
  FlowNumber count;
  double rate;
};
ConnectionTrial open_udp(Tester& tester, const ConnectionPlan& plan);
ConnectionTrial talk_tcp(Tester& tester, const ConnectionPlan& plan);

struct ConnectionPoint {
  ConnectionKind kind;
  FlowNumber flows_per_trial;
  ConnectionTrial first;  // by itself: on tables that the device has not touched yet
  std::vector<ConnectionTrial> trials;
  std::optional<SearchOutcome> search;  // loads in millions a second
};

// All kinds that the options name. The flows used come after those of the steady loads.
std::vector<ConnectionPoint> measure_connections(Tester& tester);

}  // namespace vmnat::bench
