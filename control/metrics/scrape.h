// SPDX-License-Identifier: Apache-2.0
// Scrape: one answer of /metrics, step by step: each step writes some families as they are at that moment.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "control/metrics/exposition.h"
#include "control/metrics/metrics.h"

namespace vmnat::metrics {

class Metrics::Scrape {
 public:
  Scrape(const Metrics& metrics, http::Exposition form) : all_(metrics), at_(metrics.at_), form_(form) {}

  admin::Pull next(std::string& piece);

 private:
  // A port that was there when its step began: it may be gone at the next one.
  struct PortSample {
    std::string labels;
    const control::PortTotals* totals;  // of port_totals_
    const std::string* kind;            // of the device, as the port's labels
    bool is_up = false, is_vhost = false;
    std::uint64_t interrupts = 0;
  };
  using Step = void (Scrape::*)();
  static const std::array<Step, 10> kSteps;

  void daemon();
  void packet_buffers();
  void queues();
  void counters();
  void ports();
  void port_traffic();
  void port_drops();
  void nat();
  void census();
  void networks();
  void uplinks();
  void workers();

  void add_from_counters(const Family& family, const std::map<std::string, std::uint64_t>& counters);
  PortSample sample_of(PortIndex index);
  // A family with a sample of each port, or of each vhost-user port.
  template <typename Value>
  void each_port(const Family& family, Value value);
  template <typename Value>
  void each_vhost_port(const Family& family, Value value);
  template <typename Value>
  void each_worker(const Family& family, Value value);
  template <typename Value>
  void each_network(const Family& family, Value value);
  template <typename Value>
  void each_external(const Family& family, Value value);

  const Metrics& all_;
  const control::CommandContext& at_;
  http::Exposition form_;
  std::size_t step_ = 0;
  std::vector<control::PortTotals> port_totals_;  // of the counters' step, by PortIndex
  std::vector<PortSample> ports_;
  ExpositionWriter* out_ = nullptr;  // of the step
};

}  // namespace vmnat::metrics
