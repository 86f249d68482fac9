// SPDX-License-Identifier: Apache-2.0
// How many connections a trial may open now, and what became of them all.
//
// With a rate the pacer says it; without, the device does. `trial` sums up at the end.
#pragma once

#include <algorithm>
#include <rte_cycles.h>

#include "bench/generator/connections.h"

namespace vmnat::bench {

class OpeningPace {
 public:
  explicit OpeningPace(const ConnectionPlan& plan)
      : count_(plan.count),
        is_paced_(plan.rate > 0),
        start_(rte_rdtsc()),
        now_(start_),
        pacer_(plan.rate * 1e6 / tick_rate(), Pacer::Limits::usual(tick_rate()), start_) {}

  // Openings that are due; the turn of the loop begins here.
  std::uint64_t due() {
    const std::uint64_t left = count_ - opened();
    return std::min(left, is_paced_ ? pacer_.due(now_) : left);
  }
  // What the ring took of them; `was_busy` is whether the turn had anything to do.
  void took(std::uint64_t frames, bool was_busy) {
    taken_ += frames;
    if (is_paced_) pacer_.took(frames);
    const std::uint64_t before = now_;
    now_ = rte_rdtsc();
    if (was_busy) busy_ticks_ += now_ - before;
  }
  [[nodiscard]] bool is_over() const { return opened() >= count_; }
  // Taken by the ring.
  [[nodiscard]] std::uint64_t taken() const { return taken_; }

  [[nodiscard]] ConnectionTrial trial(std::uint64_t completed, std::uint64_t last_arrival) const {
    const std::uint64_t elapsed = now_ - start_;
    return {.attempted = std::min(opened(), count_),
            .completed = completed,
            .seconds = last_arrival > start_ ? static_cast<double>(last_arrival - start_) / tick_rate() : 0,
            .generator_busy =
                static_cast<double>(busy_ticks_) / static_cast<double>(std::max<std::uint64_t>(1, elapsed))};
  }

 private:
  [[nodiscard]] std::uint64_t opened() const { return taken_ + (is_paced_ ? pacer_.given_up() : 0); }

  static double tick_rate() { return static_cast<double>(rte_get_tsc_hz()); }

  std::uint64_t count_;
  bool is_paced_;
  std::uint64_t start_;
  std::uint64_t now_;
  Pacer pacer_;
  std::uint64_t taken_ = 0;
  std::uint64_t busy_ticks_ = 0;
};

}  // namespace vmnat::bench
