// SPDX-License-Identifier: Apache-2.0
// Samples as text, in Prometheus' text format 0.0.4 or in OpenMetrics 1.0, appended to a string.
//
// prometheus-cpp's serializer knows no OpenMetrics, and wants every sample of a scrape as an object of strings in
// memory; this writes a thousand ports in the time that those take to be made.
//
//   writer.begin(family("vmnat_port_up"));
//   writer.sample(labels, 1);     vmnat_port_up{network="default",port="vm1"} 1
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include "control/http/message.h"
#include "control/metrics/families.h"

namespace vmnat::metrics {

// Appends `name="value"`, with what has to be escaped, behind a comma unless it is the first.
void add_label(std::string& labels, std::string_view name, std::string_view value);
std::string label(std::string_view name, std::string_view value);

class ExpositionWriter {
 public:
  ExpositionWriter(std::string& out, http::Exposition form) : out_(out), form_(form) {}

  void begin(const Family& family);
  // Of the family that was begun. `labels`: as add_label makes them; empty: none.
  void sample(std::string_view labels, std::uint64_t value);
  void sample(std::string_view labels, double value);
  void sample(std::string_view labels, std::integral auto value) {
    sample(labels, static_cast<std::uint64_t>(value));
  }
  // Behind all families.
  void end();

 private:
  void begin_sample(std::string_view labels);

  std::string& out_;
  http::Exposition form_;
  std::string_view name_;
};

}  // namespace vmnat::metrics
