// SPDX-License-Identifier: Apache-2.0
// One point of a run: a number of flows, a frame size and a traffic direction, and all that is measured
// there.
//
// In CSIT's words: `samples` without a rate are MRR (what arrives when more is offered than the device
// carries), NDR and PDR are what the search finds, and latencies are taken at shares of the highest rate.
#pragma once

#include <optional>
#include <vector>

#include "bench/generator/load.h"
#include "bench/generator/search.h"

namespace vmnat::bench {

struct SearchOutcome {
  Throughput ndr, pdr;  // loads in Mpps, all directions added
  std::vector<Trial> trials;
};

struct LatencyRun {
  LatencyLoad asked;
  LoadSample sample;
  Latencies latencies;
};

struct Point {
  LoadPlan plan;
  std::vector<LoadSample> samples;
  std::optional<SearchOutcome> search;
  std::vector<LatencyRun> latency;
};

// Flows 0..plan.flows-1 are learned already.
Point measure_point(Tester& tester, const LoadPlan& plan);

}  // namespace vmnat::bench
