// SPDX-License-Identifier: Apache-2.0
// Filter: which frames an observer wants to see, as a program of the BSD packet filter that libpcap has made from an
// expression ("udp port 67"). It runs in workers, over frames as they are on their wires.
//
// A program that is checked jumps forward alone: it ends after as many steps as it has. DPDK's rte_bpf would run it,
// too; but its loads do not see a VLAN tag that lies beside the frame, and its compiler wants memory that is executable.
//
// Example, "ip": ldh [12]; jeq #0x800, 0, 1; ret #262144; ret #0.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "dataplane/observe/frame_view.h"

namespace vmnat::dataplane {

// As libpcap's bpf_insn.
struct FilterStep {
  std::uint16_t code = 0;
  std::uint8_t if_true = 0, if_false = 0;
  std::uint32_t value = 0;
};

class Filter {
 public:
  static constexpr std::size_t kMostSteps = 4096;

  Filter() = default;  // takes every frame
  // Of a program that is checked.
  explicit Filter(std::vector<FilterStep> steps) : steps_(std::move(steps)) {}

  // Why the program may not run; empty: it may.
  static std::string_view problem_of(std::span<const FilterStep> steps);

  [[nodiscard]] bool takes(const FrameView& frame) const { return steps_.empty() || run(frame) != 0; }

 private:
  [[nodiscard]] std::uint32_t run(const FrameView& frame) const;

  std::vector<FilterStep> steps_;
};

}  // namespace vmnat::dataplane
