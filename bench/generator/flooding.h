// SPDX-License-Identifier: Apache-2.0
// Flooding: what one VM at full tilt costs another one on the same worker.
//
// The first VM, the victim, has a moderate load at a fixed rate, both ways, and asks for an address by DHCP
// twice a second. That is measured three times: in quiet, under the flood, and in quiet again, when the
// same flows must still come through. Its share is what arrived under the flood of what arrived without.
#pragma once

#include <string>

#include "bench/generator/flooder.h"
#include "bench/generator/load.h"

namespace vmnat::bench {

struct FloodPhase {
  LoadSample load;
  unsigned discovers = 0, offers = 0;  // asked and answered
};

struct FloodResult {
  const Flood* flood = nullptr;
  double flood_mpps = 0;  // that the device took
  FloodPhase before, during, after;
  Latencies latencies;  // during

  [[nodiscard]] double share() const { return during.load.mpps() / before.load.mpps(); }
};

// The flows of the first `--flows` are known.
FloodResult measure_flood(Tester& tester, Flooder& flooder);

std::string text_of(const FloodResult& result);
std::string json_of(const FloodResult& result, const Options& options);

}  // namespace vmnat::bench
