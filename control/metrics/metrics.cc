// SPDX-License-Identifier: Apache-2.0
#include "control/metrics/metrics.h"

#include "control/metrics/scrape.h"

namespace vmnat::metrics {

Metrics::Metrics(const control::CommandContext& at, const control::WorkerRings& rings,
                 const control::PacketPools& pools, const ChangeCounts& changes, const http::Server& server)
    : at_(at), rings_(rings), pools_(pools), changes_(changes), server_(server), census_(at.workers) {}

http::Body Metrics::scrape(http::Exposition form) {
  census_.ask(std::chrono::steady_clock::now());
  return [scrape = std::make_shared<Scrape>(*this, form)](std::string& piece) { return scrape->next(piece); };
}

}  // namespace vmnat::metrics
