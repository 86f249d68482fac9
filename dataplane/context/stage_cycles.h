// SPDX-License-Identifier: Apache-2.0
// StageCycles: where a worker's time goes, step by step, in a build with -Dstage_cycles=true.
//
// A StageClock stands at the top of a pipeline and is told when a step ends; the time since the last such
// moment is that step's, for the frames that entered it. Without the option it is an empty object, and the
// compiler leaves nothing of it. `vmnatctl workers` shows the result. Worked example, a burst of 32:
//
//   parse 640 ticks, 32 frames -> 20 a frame;  new_flow 2000 ticks, 2 frames -> 1000 a miss
//
// `new_flow` is a part of `look_up`, which counts its hits alone once that part is taken off.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/counter.h"
#if VMNAT_STAGE_CYCLES
#include <rte_cycles.h>
#endif

namespace vmnat::dataplane {

#define VMNAT_STAGES(ROW)     \
  ROW(Receive, "receive")     \
  ROW(Parse, "parse")         \
  ROW(Switch, "switch")       \
  ROW(Fragments, "fragments") \
  ROW(Steer, "steer")         \
  ROW(LookUp, "look_up")      \
  ROW(NewFlow, "new_flow")    \
  ROW(Translate, "translate") \
  ROW(Gro, "gro")             \
  ROW(Deliver, "deliver")     \
  ROW(Transmit, "transmit")

#define VMNAT_ENUMERATOR(id, name) id,
#define VMNAT_NAME(id, name) name,

enum class Stage : std::uint8_t { VMNAT_STAGES(VMNAT_ENUMERATOR) kCount };
inline constexpr std::size_t kStageCount = static_cast<std::size_t>(Stage::kCount);
inline constexpr std::array<std::string_view, kStageCount> kStageNames{VMNAT_STAGES(VMNAT_NAME)};

#undef VMNAT_ENUMERATOR
#undef VMNAT_NAME

// TSC cycles, and the frames that they were spent on.
struct StageTotal {
  std::uint64_t cycles = 0;
  std::uint64_t packets = 0;
};

#if VMNAT_STAGE_CYCLES
inline constexpr bool kStageCyclesCounted = true;

class StageCounters {
 public:
  void add(Stage stage, std::uint64_t cycles, unsigned packets) {
    One& one = stages_[static_cast<unsigned>(stage)];
    one.cycles.add(cycles);
    one.packets.add(packets);
  }
  [[nodiscard]] StageTotal of(Stage stage) const {
    const One& one = stages_[static_cast<unsigned>(stage)];
    return {one.cycles.get(), one.packets.get()};
  }

 private:
  struct One {
    Counter cycles, packets;
  };
  std::array<One, kStageCount> stages_;
};

class StageClock {
 public:
  explicit StageClock(StageCounters& counters) : counters_(counters) {}
  // `stage` has ended, which `packets` frames had entered.
  void lap(Stage stage, unsigned packets) {
    const std::uint64_t now = rte_rdtsc();
    counters_.add(stage, now - since_, packets);
    since_ = now;
  }

 private:
  StageCounters& counters_;
  std::uint64_t since_ = rte_rdtsc();
};
#else
inline constexpr bool kStageCyclesCounted = false;

struct StageCounters {
  [[nodiscard]] StageTotal of(Stage) const { return {}; }
};

class StageClock {
 public:
  explicit StageClock(StageCounters&) {}
  void lap(Stage, unsigned) {}
};
#endif

}  // namespace vmnat::dataplane
