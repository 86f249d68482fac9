// SPDX-License-Identifier: Apache-2.0
// What a run has found, as a table for people and as JSON for programs. Conditions stand at the head of both.
#pragma once

#include <string>
#include <vector>

#include "bench/generator/connections.h"
#include "bench/generator/learning.h"
#include "bench/generator/options.h"
#include "bench/generator/point.h"

namespace vmnat::bench {

// What the numbers depend on.
struct Conditions {
  std::string time;  // RFC 3339
  std::string host, kernel, cpu_model, dpdk_version;
  unsigned cpus = 0;
  double tsc_ghz = 0;
};
Conditions current_conditions();

struct Report {
  Conditions conditions;
  std::vector<std::pair<FlowNumber, LearningResult>> learning;
  std::vector<Point> points;
  std::vector<ConnectionPoint> connections;
  FaultCounters faults{};
  FlowNumber shared_tuples = 0;
  FlowNumber dependent_mappings = 0;

  // Every flow came through both ways, unique and as it should be.
  [[nodiscard]] bool is_verified() const;
};

// Middle value and half of the distance between the quartiles, relative to it.
struct Spread {
  double median = 0;
  double relative = 0;
};
Spread spread_of(std::vector<double> values);

std::string text_of(const Report& report, const Options& options);
std::string json_of(const Report& report, const Options& options);

}  // namespace vmnat::bench
