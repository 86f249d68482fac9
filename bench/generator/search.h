// SPDX-License-Identifier: Apache-2.0
// The search for the highest load that a device carries: NDR (no loss) and PDR (0.5 % loss), as CSIT names
// them.
//
// A binary search over fixed loads (RFC 2544 section 26.1), made fit for noisy devices as MLRsearch does
// (draft-ietf-bmwg-mlrsearch): a load is judged by several trials, and is good for a goal unless more than
// `exceed_ratio` of them lose more than the goal's `loss_ratio`. The upper bound is the smallest load that is
// bad, the lower bound the largest good one below it; the search ends when they are `width` apart, and the
// lower bound is the result. Trials serve all goals.
//
//   a device that forwards 5.00 Mpps, first guess 5.2:  5.2 bad, 5.15 bad, 5.05 bad, 4.85 good, 4.95 good,
//   5.00 good, 5.02 bad -> lower 5.00, upper 5.02
//
// Pure: the device is a function from load to trial. The unit of loads is the caller's.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace vmnat::bench {

struct Goal {
  std::string_view name;
  double loss_ratio;
  double width = 0.005;       // of the interval that is left, relative to its upper end
  double exceed_ratio = 0.5;  // share of trials that may lose more
  unsigned trials = 3;        // a load; fewer when they agree
};
inline constexpr Goal kNdr{"NDR", 0.0};
inline constexpr Goal kPdr{"PDR", 0.005};
// Trials of connection rates use up flows: a coarser result.
inline constexpr Goal kConnectionNdr{"NDR", 0.0, 0.02};
inline constexpr Goal kConnectionPdr{"PDR", 0.005, 0.02};

struct Trial {
  double load;        // as asked for
  double loss_ratio;  // of the frames offered
  double forwarded;   // in the unit of loads
};

struct LoadRange {
  double lowest;
  double highest;
  double first_guess;
};

struct Throughput {
  double load = 0;  // the lower bound; 0 when even the lowest load is bad
  double upper = 0;
  double forwarded = 0;             // at `load`, median of its trials
  bool is_range_exhausted = false;  // the highest load is good, or the lowest bad, or trials ran out
};

class RateSearch {
 public:
  using MeasureLoad = std::function<Trial(double load)>;
  RateSearch(MeasureLoad measure, LoadRange range) : measure_(std::move(measure)), range_(range) {}

  // May be called for several goals, best with the smallest loss first.
  Throughput find(const Goal& goal);
  [[nodiscard]] const std::vector<Trial>& trials() const { return trials_; }

 private:
  enum class Verdict { Good, Bad, Open };
  struct Bounds {
    std::optional<double> lower, upper;
  };

  [[nodiscard]] Verdict verdict_on(double load, const Goal& goal) const;
  [[nodiscard]] Bounds bounds_of(const Goal& goal) const;
  // The load to look at next; none when the search is over.
  [[nodiscard]] std::optional<double> next_load(const Bounds& bounds, const Goal& goal, double& step) const;
  void judge(double load, const Goal& goal);
  [[nodiscard]] double forwarded_at(double load) const;

  MeasureLoad measure_;
  LoadRange range_;
  std::vector<Trial> trials_;
};

}  // namespace vmnat::bench
