// SPDX-License-Identifier: Apache-2.0
// How far apart two CPUs are: the time of a cache line from one to the other and back.
//
// Rings are such lines, so rates depend on it more than on the clock's rate. In a virtual machine it changes while nothing
// seems to: its host moves the CPUs, to threads of one core, to cores with a cache in common, or to ones without (130, 320 and
// 1600 ticks on one machine, within a minute). What was measured at one distance says nothing beside another one.
#pragma once

#include <optional>

namespace vmnat::bench {

// Time stamp counter ticks, the median of many trips between the calling thread's CPU and that one. A thread takes its turn
// there for a millisecond or so, also beside one that polls. Nothing when no thread may run there.
[[nodiscard]] std::optional<double> line_trip_ticks(unsigned cpu);

// Of two such medians: whether the CPUs were moved in between.
[[nodiscard]] bool is_other_distance(double before, double after);

}  // namespace vmnat::bench
