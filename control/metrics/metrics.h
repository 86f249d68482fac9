// SPDX-License-Identifier: Apache-2.0
// Metrics: what /metrics answers: the rows of families.h with their samples, read from counters and snapshots, so no
// scrape makes a worker wait. One that is asked for is made in steps, some families each, and control's other work
// goes on in between. No label names a session or a remote.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "base/time.h"
#include "control/commands/context.h"
#include "control/gateway/packet_pools.h"
#include "control/gateway/worker_rings.h"
#include "control/http/server.h"
#include "control/http/site.h"
#include "control/metrics/session_census.h"

namespace vmnat::metrics {

// What became of changes of the configuration.
struct ChangeCounts {
  struct Results {
    std::uint64_t applied = 0, unchanged = 0, refused = 0;
  };
  Results reloads, edits;
  bool was_last_reload_refused = false;
};

class Metrics {
 public:
  // All of them outlive it.
  Metrics(const control::CommandContext& at, const control::WorkerRings& rings,
          const control::PacketPools& pools, const ChangeCounts& changes, const http::Server& server);

  http::Body scrape(http::Exposition form);
  // Counts sessions on, if a scrape has begun to.
  void advance(SteadyTime now) { census_.advance(now); }
  [[nodiscard]] bool is_counting() const { return census_.is_under_way(); }

 private:
  class Scrape;
  const control::CommandContext at_;
  const control::WorkerRings& rings_;
  const control::PacketPools& pools_;
  const ChangeCounts& changes_;
  const http::Server& server_;
  SessionCensus census_;
  // As it was then: a wall clock that is set makes no restart.
  const std::chrono::system_clock::time_point started_ = std::chrono::system_clock::now();
};

}  // namespace vmnat::metrics
